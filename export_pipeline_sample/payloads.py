"""Payloads as tracers write them: LangChain's callback tracer, and the wrappers of the langsmith SDK.

The forms follow what those tracers send (seen in public documentation and open sources of langchain-core and langsmith
for Python, 2025): messages as constructors with `lc`, `id` and `kwargs`, or as plain dicts; `generations` and
`llm_output`; `usage_metadata`; `invocation_params`, `metadata` and `runtime` under `extra`.
"""

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from export_pipeline_sample.text import reference, text


@dataclass(frozen=True)
class Model:
    """A model; prices in 1e-12 US dollars a token."""

    provider: str
    name: str
    version: str
    wrapper: str
    kind: str
    prompt_price: int
    completion_price: int


MODELS = (
    Model("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "ChatOpenAI", "openai-chat", 150_000, 600_000),
    Model("openai", "gpt-4o", "gpt-4o-2024-08-06", "ChatOpenAI", "openai-chat", 2_500_000, 10_000_000),
    Model("anthropic", "claude-3-5-haiku-latest", "claude-3-5-haiku-20241022", "ChatAnthropic", "anthropic-chat",
          800_000, 4_000_000),
    Model("google_genai", "gemini-2.0-flash", "gemini-2.0-flash", "ChatGoogleGenerativeAI", "chat-google-generative-ai",
          100_000, 400_000),
)  # fmt: skip
EMBEDDING_MODEL = "text-embedding-3-small"

_CLASSES = {"system": "SystemMessage", "human": "HumanMessage", "ai": "AIMessage", "tool": "ToolMessage"}
_ROLES = {"system": "system", "human": "user", "ai": "assistant", "tool": "tool"}


def constructed(kind: str, content: Any, **kwargs: Any) -> dict[str, Any]:
    """A message in LangChain's serialized form."""
    place = ["langchain", "schema", "messages", _CLASSES[kind]]
    return {"lc": 1, "type": "constructor", "id": place, "kwargs": {"content": content, "type": kind, **kwargs}}


def plain(kind: str, content: Any, **more: Any) -> dict[str, Any]:
    """A message as LangGraph's state is recorded: the model's fields."""
    return {"content": content, "additional_kwargs": {}, "response_metadata": {}, "type": kind, "name": None} | more


def role(kind: str, content: Any, **more: Any) -> dict[str, Any]:
    """A message as the providers' own clients take it."""
    return {"role": _ROLES[kind], "content": content} | more


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """`usage_metadata`."""
    details = {"input_token_details": {"cache_read": 0}, "output_token_details": {"reasoning": 0}}
    return {"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion, **details}


def generations(model: Model, answer: str, *, run_id: str, prompt: int, completion: int, calls: list[Any]) -> Any:
    """What LangChain's tracer records of a chat model's answer."""
    spent = {"completion_tokens": completion, "prompt_tokens": prompt, "total_tokens": prompt + completion}
    reason = "tool_calls" if calls else "stop"
    meta = {"token_usage": spent, "model_name": model.version, "finish_reason": reason, "logprobs": None}
    message = constructed(
        "ai", answer, additional_kwargs={"refusal": None}, response_metadata=meta, id=f"run-{run_id}-0",
        tool_calls=calls, invalid_tool_calls=[], usage_metadata=usage(prompt, completion),
    )  # fmt: skip
    info = {"finish_reason": reason, "logprobs": None}
    generation = {"text": answer, "generation_info": info, "type": "ChatGeneration", "message": message}
    return {
        "generations": [[generation]],
        "llm_output": {"token_usage": spent, "model_name": model.version, "system_fingerprint": "fp_0705bf87c0"},
        "run": None,
        "type": "LLMResult",
    }


def completion(model: Model, answer: str, *, number: int, prompt: int, completion: int) -> dict[str, Any]:
    """What the langsmith SDK's wrapper of a provider's client records."""
    if model.provider == "anthropic":
        content = [{"type": "text", "text": answer, "citations": None}]
        return {
            "id": f"msg_{number:024x}", "type": "message", "role": "assistant", "model": model.version,
            "content": content, "stop_reason": "end_turn", "stop_sequence": None,
            "usage_metadata": usage(prompt, completion),
        }  # fmt: skip
    message = {"content": answer, "refusal": None, "role": "assistant", "audio": None, "tool_calls": None}
    return {
        "id": f"chatcmpl-{number:024x}",
        "choices": [{"finish_reason": "stop", "index": 0, "logprobs": None, "message": message}],
        "created": 1_760_000_000 + number % 10_000_000,
        "model": model.version,
        "object": "chat.completion",
        "service_tier": "default",
        "system_fingerprint": "fp_0705bf87c0",
        "usage_metadata": usage(prompt, completion),
    }


def document(rng: random.Random, language: str, size: int) -> dict[str, Any]:
    """A retrieved document."""
    meta = {"source": f"kb/{reference(rng)}.md", "chunk": rng.randrange(90), "score": round(rng.random(), 6)}
    return {"id": None, "metadata": meta, "page_content": text(rng, language, size), "type": "Document"}


def vector(rng: random.Random, size: int) -> list[float]:
    """An embedding, cut short to the size in bytes."""
    numbers = _numbers()
    length = max(min(size // 13, 1_536), 8)
    start = rng.randrange(len(numbers) - length)
    return numbers[start : start + length]


@cache
def _numbers() -> list[float]:
    rng = random.Random("numbers")
    return [round(rng.uniform(-0.12, 0.12), 8) for _ in range(20_000)]


def tool_call(rng: random.Random, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A model's wish that a tool be called."""
    return {"name": name, "args": arguments, "id": f"call_{rng.getrandbits(96):024x}", "type": "tool_call"}


def invocation(model: Model, *, temperature: float, stream: bool, tools: list[str]) -> dict[str, Any]:
    """`invocation_params`."""
    shown = [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": f"Calls {name.replace('_', ' ')}.",
                "parameters": {
                    "type": "object",
                    "properties": {"query": {"type": "string"}},
                    "required": ["query"],
                },
            },
        }
        for name in tools
    ]
    base = {"model": model.name, "model_name": model.name, "stream": stream, "temperature": temperature}
    return base | {"_type": model.kind, "stop": None} | ({"tools": shown} if shown else {})


def runtime(library: str, patch: int) -> dict[str, Any]:
    """`runtime` of a tracer."""
    shared = {
        "sdk": "langsmith-py", "sdk_version": f"0.4.{patch}", "library": library, "runtime": "python",
        "platform": "Linux-6.8.0-1021-aws-x86_64-with-glibc2.36", "py_implementation": "CPython",
        "runtime_version": "3.12.8", "langchain_version": None, "langchain_core_version": f"0.3.{50 + patch}",
    }  # fmt: skip
    return shared | {"library_version": f"0.3.{50 + patch}"} if library != "langsmith" else shared


def traceback(rng: random.Random, name: str) -> str:
    """An error with its traceback, as the tracers join them."""
    kind, message = rng.choice(_ERRORS)
    message = message.format(n=rng.randrange(2, 60), r=reference(rng))
    frames = [
        ("app/agents/support.py", rng.randrange(40, 200), "ainvoke"),
        (".venv/lib/python3.12/site-packages/langchain_core/runnables/base.py", rng.randrange(180, 5700), "ainvoke"),
        (f"app/steps/{name.lower()}.py", rng.randrange(10, 90), "__call__"),
    ]
    lines = "".join(f'  File "/srv/{path}", line {line}, in {where}\n    return await step(value)\n\n\n'
                    for path, line, where in frames)  # fmt: skip
    short = kind.rpartition(".")[2]
    return f"{short}('{message}')Traceback (most recent call last):\n\n\n{lines}{kind}: {message}\n"


_ERRORS = (
    ("openai.RateLimitError", "Error code: 429 - rate limit reached, try again in {n}s"),
    ("openai.APITimeoutError", "Request timed out."),
    ("langchain_core.exceptions.OutputParserException", "Invalid json output: {{\"invoice\": \"{r}\", \"total\": "),
    ("KeyError", "order_{r}"),
    ("httpx.ConnectError", "[Errno 111] Connection refused after {n} attempts"),
    ("asyncio.exceptions.CancelledError", "Zeitüberschreitung nach {n} s – übertragen: „{r}“ ⚠️"),
)  # fmt: skip
