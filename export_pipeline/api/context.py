"""What every call works on, and who calls."""

import uuid
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from export_pipeline.api.places import Places
from export_pipeline.api.rates import Rates
from export_pipeline.exports.access.refusals import Refusals
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.settings import Settings


@dataclass(frozen=True)
class Context:
    """What one process has; between calls it keeps who waits and how often was asked, and nothing else."""

    settings: Settings
    control: ControlDatabase = field(repr=False)
    rates: Rates = field(repr=False)
    places: Places = field(default_factory=Places, repr=False)
    refusals: Refusals = field(default_factory=Refusals, repr=False)


@dataclass(frozen=True)
class Caller:
    """Who calls: a workspace, what may be done in it, and the name in the audit log."""

    tenant_id: uuid.UUID
    scopes: frozenset[str]
    actor: str


# Coroutines, because FastAPI hands plain functions to a thread.
async def _context(request: Request) -> Context:
    return cast("Context", request.app.state.context)


async def _caller(request: Request) -> Caller:
    return cast("Caller", request.state.caller)


GetContext = Annotated[Context, Depends(_context)]
GetCaller = Annotated[Caller, Depends(_caller)]
