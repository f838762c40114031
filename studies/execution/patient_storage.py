"""An Optuna store on a server, which may be away for a moment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.pool import NullPool

from lrlora.studies.record.patience import Patience


def patient_storage(url: str) -> BaseStorage:
    """Returns the store of a database server; each call to it waits while the server is away.

    A call has a connection of its own: one that is kept open while a cell trains for hours may be cut on its way.
    """
    return with_patience(get_storage(RDBStorage(url, engine_kwargs={"poolclass": NullPool})), Patience(url))


def with_patience(storage: BaseStorage, patience: Patience) -> BaseStorage:
    """Returns the storage, changed so that each call to it is repeated while its server is away.

    A server can commit and go away before it says so. A call that is repeated then makes no second trial and changes no
    state twice; this needs a study that no other process writes to.

    Args:
        storage: Of Optuna.
        patience: For its server.
    """
    create, set_state = storage.create_new_trial, storage.set_trial_state_values
    for name in BaseStorage.__abstractmethods__:
        setattr(storage, name, partial(patience, getattr(storage, name)))

    def create_new_trial(study_id: int, template_trial: FrozenTrial | None = None) -> int:
        def ids() -> set[int]:
            return {trial._trial_id for trial in storage.get_all_trials(study_id, deepcopy=False)}

        def make() -> int:
            made = ids() - known
            return min(made) if made else create(study_id, template_trial)

        known = ids()
        found = patience(make)
        for double in ids() - known - {found}:  # Optuna repeats it as well
            storage.set_trial_state_values(double, TrialState.FAIL)
        return found

    def set_trial_state_values(trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        tries: list[Any] = []

        def change() -> bool:
            tries.append(state)
            done = len(tries) > 1 and storage.get_trial(trial_id).state == state
            return done or set_state(trial_id, state, values)

        return patience(change)

    storage.create_new_trial = create_new_trial  # type: ignore[method-assign]
    storage.set_trial_state_values = set_trial_state_values  # type: ignore[method-assign]
    return storage
