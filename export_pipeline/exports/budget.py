"""The budget of an API's key that all workers share: it lies in the control database, in whose clock it is kept."""

from dataclasses import asdict, fields

import sqlalchemy as sa
from typing_extensions import override

from export_pipeline.errors import ControlSchemaError, ControlUnreachableError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import request_budgets
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.sources.http.budget import Bucket, Budget, Budgets, OwnBudget, Turn, Usage

_STATE = [request_budgets.c[field.name] for field in fields(Bucket)]


class SharedBudget(Budget):
    """One row of the control database; raises `ControlUnreachableError` where that stays away."""

    def __init__(self, control: ControlDatabase, budget_id: str) -> None:
        self._control, self._here = control, request_budgets.c.id == budget_id
        self._first = {"id": budget_id, **asdict(Bucket())}

    @override
    def take(self, rate: float) -> Turn:
        def work(transaction: Transaction) -> Turn:
            turn, after = self._locked(transaction).take(transaction.now(), rate)
            self._write(transaction, after)
            return turn

        return self._control.run(work)

    @override
    def pause(self, seconds: float) -> None:
        def work(transaction: Transaction) -> None:
            self._write(transaction, self._locked(transaction).pause(transaction.now(), seconds))

        self._control.run(work)

    @override
    def usage(self) -> Usage:
        with self._control.read() as transaction:
            row = transaction.execute(sa.select(*_STATE).where(self._here)).one_or_none()
            return (Bucket() if row is None else Bucket(*row)).usage(transaction.now())

    def _locked(self, transaction: Transaction) -> Bucket:
        query = sa.select(*_STATE).where(self._here).with_for_update()
        row = transaction.execute(query).one_or_none()
        if row is None:
            transaction.insert_missing(request_budgets, self._first)
            row = transaction.execute(query).one()
        return Bucket(*row)

    def _write(self, transaction: Transaction, bucket: Bucket) -> None:
        transaction.execute(sa.update(request_budgets).where(self._here).values(**asdict(bucket)))


def shared_budgets(control: ControlDatabase) -> Budgets:
    """The budgets that a control database keeps; before there is one, and where it is away, a process has its own.

    So a trace store can be looked at without it. Whatever exports days fails without it anyway.
    """

    def budget(budget_id: str) -> Budget:
        try:
            control.check_schema()
        except (ControlSchemaError, ControlUnreachableError):
            return OwnBudget()
        return SharedBudget(control, budget_id)

    return budget
