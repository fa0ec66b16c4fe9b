"""What the applications behind the sample's projects do: an agent with tools, question answering, and extraction."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from export_pipeline_sample import payloads
from export_pipeline_sample.payloads import MODELS, Model
from export_pipeline_sample.rows import Made, Trace
from export_pipeline_sample.text import reference, sentence, text

_MODEL_WEIGHTS = (60, 15, 15, 10)
_PREVIEW_TOKENS = 60
TOOLS = ("search_knowledge_base", "get_order", "create_refund")
_SYSTEM = "You are a careful assistant of an online shop. Answer in the customer's language; never invent an order."


class Application:
    """Acts out one trace of an application. `thread` is the conversation's id, `library` the tracer's."""

    def __init__(self, trace: Trace, *, library: str, thread: str, project: str) -> None:
        self.trace = trace
        self.rng: random.Random = trace.rng
        self.model: Model = self.rng.choices(MODELS, _MODEL_WEIGHTS)[0]
        self.question = sentence(self.rng, trace.language)
        self._runtime = payloads.runtime(library, 20 + self.rng.randrange(12))
        self._metadata = {
            "thread_id": thread,
            "session_id": thread,
            "user_id": f"user-{self.rng.randrange(900)}",
            "revision_id": f"{len(project):02x}c41f7",
            "environment": "production",
        }

    def extra(self, **metadata: Any) -> dict[str, Any]:
        """`extra` of a run that is no model's."""
        return {"metadata": self._metadata | metadata, "runtime": self._runtime}

    def split(self, share: float) -> tuple[int, int]:
        """Bytes of text for inputs, and for outputs."""
        size = self.trace.size()
        return int(size * share), int(size * (1 - share))

    def llm(self, *, calls: list[Any] | None = None, wrapped: bool = False, depth: int = 0) -> str:
        """A call of a chat model, as LangChain's tracer or (`wrapped`) the SDK's wrapper records it."""
        rng, trace, model = self.rng, self.trace, self.model
        before, after = self.split(0.8)
        streamed = not calls and rng.random() < 0.35
        temperature = rng.choice((0.0, 0.2, 0.7))
        params = payloads.invocation(model, temperature=temperature, stream=streamed, tools=[] if wrapped else [*TOOLS])
        extra = self.extra(
            ls_provider=model.provider, ls_model_name=model.name, ls_model_type="chat", ls_temperature=temperature
        ) | {"invocation_params": params, "options": {"stop": None}, "batch_size": 1}
        context = text(rng, trace.language, before)
        answer = text(rng, trace.language, after)
        inputs: Any
        if wrapped:
            messages = [payloads.role("system", _SYSTEM), payloads.role("human", f"{self.question}\n\n{context}")]
            inputs = {"messages": messages, "model": model.name, "temperature": temperature, "stream": streamed}
        else:
            history = [payloads.constructed("system", _SYSTEM), payloads.constructed("human", self.question)]
            inputs = {"messages": [[*history, payloads.constructed("human", context)]]}
        tags = [f"seq:step:{depth}"] if depth else []
        with trace.step(model.wrapper, "llm", inputs, extra=extra, tags=tags) as run:
            run.prompt_tokens = len(context) // 4 + len(self.question) // 4 + 40
            run.completion_tokens = len(answer) // 4 + 1
            run.prompt_cost = run.prompt_tokens * model.prompt_price
            run.completion_cost = run.completion_tokens * model.completion_price
            if streamed:
                self._stream(run, answer)
            else:
                trace.wait(300, 4_000)
            spent = {"prompt": run.prompt_tokens, "completion": run.completion_tokens}
            if wrapped:
                run.outputs = payloads.completion(model, answer, number=rng.getrandbits(60), **spent)
            else:
                run.outputs = payloads.generations(model, answer, run_id=run.id, calls=calls or [], **spent)
        return answer

    def _stream(self, run: Made, answer: str) -> None:
        run.first_token = self.trace.wait(150, 900)
        width = 4
        moment = run.first_token
        for number in range(min(len(answer) // width + 1, _PREVIEW_TOKENS)):
            token = answer[number * width : (number + 1) * width]
            moment += timedelta(microseconds=self.rng.randrange(9_000, 60_000))
            run.events.append(
                {"name": "new_token", "time": moment.isoformat(timespec="microseconds"), "kwargs": {"token": token}}
            )
        self.trace.now = moment

    def state(self, size: int) -> list[Any]:
        """The messages of a conversation so far, the question last."""
        trace, rng = self.trace, self.rng
        turns = min(size // 500, 8) // 2
        messages = []
        for _ in range(turns):
            for kind in ("human", "ai"):
                said = text(rng, trace.language, size // (turns * 2))
                messages.append(payloads.plain(kind, said, id=trace.uuid()))
        return [*messages, payloads.plain("human", self.question, id=trace.uuid(), example=False)]

    def prompt(self, depth: int) -> None:
        """A prompt template being filled."""
        before, after = self.split(0.5)
        inputs = {"question": self.question, "context": text(self.rng, self.trace.language, before)}
        tags = ["seq:step:1", f"depth:{depth}"]
        with self.trace.step("ChatPromptTemplate", "prompt", inputs, extra=self.extra(), tags=tags) as run:
            filled = text(self.rng, self.trace.language, after)
            messages = [payloads.constructed("system", _SYSTEM), payloads.constructed("human", filled)]
            place = ["langchain", "prompts", "chat", "ChatPromptValue"]
            value = {"lc": 1, "type": "constructor", "id": place, "kwargs": {"messages": messages}}
            run.outputs = {"output": value}

    def parser(self, *, structured: bool = False) -> None:
        """An output parser."""
        rng = self.rng
        before, after = self.split(0.5)
        answer = text(rng, self.trace.language, before)
        name = "PydanticOutputParser" if structured else "StrOutputParser"
        inputs = {"input": answer} if structured else {"input": payloads.constructed("ai", answer, tool_calls=[])}
        with self.trace.step(name, "parser", inputs, extra=self.extra(), tags=["seq:step:3"]) as run:
            parsed = text(rng, self.trace.language, after)
            if structured:
                lines = [
                    {"text": parsed[n : n + 90], "amount": f"{rng.randrange(10**5) / 100:.2f}"}
                    for n in range(0, len(parsed), 90)
                ]
                run.outputs = {"output": {"invoice": reference(rng), "currency": "EUR", "lines": lines}}
            else:
                run.outputs = {"output": parsed}

    def retrieve(self) -> None:
        """A retriever over a vector store, with the embedding of the query below it."""
        size = self.trace.size()
        extra = self.extra(ls_retriever_name="vectorstore", ls_vector_store_provider="PGVector")
        with self.trace.step("VectorStoreRetriever", "retriever", {"query": self.question}, extra=extra) as run:
            self.embed()
            self.trace.wait(5, 90)
            found = self.rng.randrange(2, 6)
            run.outputs = {
                "documents": [payloads.document(self.rng, self.trace.language, size // found) for _ in range(found)]
            }

    def embed(self) -> None:
        """An embedding of the question; the vector is as long as the run's size allows."""
        extra = self.extra(ls_provider="openai", ls_model_name=payloads.EMBEDDING_MODEL)
        before, after = self.split(0.4)
        inputs = {"texts": [self.question + " " + text(self.rng, self.trace.language, before)]}
        with self.trace.step("OpenAIEmbeddings", "embedding", inputs, extra=extra) as run:
            self.trace.wait(30, 300)
            run.outputs = {"embeddings": [payloads.vector(self.rng, after)], "model": payloads.EMBEDDING_MODEL}

    def tool(self, name: str, call: str) -> None:
        """A tool of the agent; the knowledge base is searched by a chain of its own."""
        rng, trace = self.rng, self.trace
        before, after = self.split(0.15)
        question = text(rng, trace.language, before)
        with trace.step(name, "tool", {"input": str({"query": question})}, extra=self.extra(), tags=["tool"]) as run:
            if name == "search_knowledge_base":
                with trace.step("RunnableSequence", "chain", {"input": question}, extra=self.extra()) as chain:
                    self.retrieve()
                    chain.outputs = {"output": text(rng, trace.language, after // 4)}
            else:
                trace.wait(40, 1_500)
            result = payloads.plain("tool", text(rng, trace.language, after), tool_call_id=call, status="success")
            run.outputs = {"output": result}


def agent(app: Application) -> None:
    """A LangGraph agent: model and tools in turn, up to six levels deep."""
    rng, trace = app.rng, app.trace
    before, after = app.split(0.4)
    with trace.step(
        "support_agent", "chain", {"messages": app.state(before)}, extra=app.extra(), tags=["production"]
    ) as root:
        rounds = rng.choices((1, 2, 3), (30, 50, 20))[0]
        for number in range(1, rounds + 1):
            call = None
            if number < rounds:
                name = TOOLS[rng.choices((0, 1, 2), (50, 40, 10))[0]]
                call = payloads.tool_call(rng, name, {"query": app.question})
            _think(app, number * 2 - 1, call)
            if call:
                _act(app, number * 2, call)
        answer = payloads.plain("ai", text(rng, trace.language, after), id=f"run-{trace.uuid()}", tool_calls=[])
        root.outputs = {"messages": [*root.inputs["messages"], answer]}


def _think(app: Application, number: int, call: dict[str, Any] | None) -> None:
    trace = app.trace
    node = {"langgraph_step": number, "langgraph_node": "agent", "langgraph_triggers": ["branch:to:agent"]}
    before, after = app.split(0.7)
    with trace.step("agent", "chain", {"messages": app.state(before)}, extra=app.extra(**node)) as step:
        inner, _ = app.split(0.7)
        with trace.step("RunnableSequence", "chain", {"messages": app.state(inner)}, extra=app.extra(**node)) as chain:
            app.prompt(3)
            chain.outputs = {"output": app.llm(calls=[call] if call else None, depth=2)}
            app.parser()
        said = payloads.plain("ai", text(app.rng, trace.language, after), id=f"run-{trace.uuid()}")
        step.outputs = {"messages": [said]}


def _act(app: Application, number: int, call: dict[str, Any]) -> None:
    trace = app.trace
    node = {"langgraph_step": number, "langgraph_node": "tools", "langgraph_triggers": ["branch:to:tools"]}
    before, after = app.split(0.6)
    with trace.step("tools", "chain", {"messages": app.state(before)}, extra=app.extra(**node)) as step:
        app.tool(call["name"], call["id"])
        found = payloads.plain("tool", text(app.rng, trace.language, after), tool_call_id=call["id"])
        step.outputs = {"messages": [found]}


def answering(app: Application) -> None:
    """Question answering over documents as a LangChain sequence."""
    trace = app.trace
    before, after = app.split(0.5)
    asked = {"question": app.question, "chat_history": app.state(before)}
    with trace.step("docs_rag", "chain", asked, extra=app.extra(), tags=["rag", "v3"]) as root:
        app.retrieve()
        app.prompt(1)
        app.llm(depth=2)
        app.parser()
        root.outputs = {"output": text(app.rng, trace.language, after)}


def extraction(app: Application) -> None:
    """Plain functions under the SDK's decorator, and a wrapped client."""
    rng, trace = app.rng, app.trace
    before, after = app.split(0.5)
    source = {"file": f"s3://inbox/{reference(rng)}.pdf", "pages": rng.randrange(1, 9)}
    extra = app.extra(ls_method="traceable")
    asked = source | {"instructions": text(rng, trace.language, before)}
    with trace.step("extract_invoice", "chain", asked, extra=extra, tags=["batch"]) as root:
        with trace.step("read_pdf", "tool", source, extra=extra) as run:
            trace.wait(20, 700)
            run.outputs = {"output": text(rng, trace.language, app.trace.size())}
        app.llm(wrapped=True)
        app.parser(structured=True)
        root.outputs = {"output": {"invoice": reference(rng), "notes": text(rng, trace.language, after)}}


def completion(app: Application) -> None:
    """A single call of a model, with nothing around it."""
    app.llm(wrapped=True)


APPLICATIONS: dict[str, tuple[Callable[[Application], None], str]] = {
    "support-agent": (agent, "langgraph"),
    "docs-rag": (answering, "langchain-core"),
    "invoice-extraction": (extraction, "langsmith"),
    "completion": (completion, "langsmith"),
}
"""By name: how a trace goes, and the library that records it."""

RUNS_OF_A_TRACE = {"support-agent": 13.6, "docs-rag": 6.0, "invoice-extraction": 4.0, "completion": 1.0}
"""How many runs a trace has on average."""
