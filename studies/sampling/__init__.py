"""What Optuna needs to decide claims: a sampler that asks for the next run, and a pruner of runs at chance.

Both work with any Optuna study whose trials are runs of a variant at a seed::

    sampler = ClaimSampler([Claim(says="sinc is above lora", of="sinc")], ["lora", "sinc"], reference="lora")
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(train, callbacks=[sampler.stop])  # train(trial) calls suggest_cell(trial, sampler)
    print([path.state for path in sampler.follow(study)])
"""

from __future__ import annotations

from lrlora.studies.sampling.chance_pruner import ChancePruner
from lrlora.studies.sampling.claim_sampler import ClaimSampler, suggest_cell
from lrlora.studies.sampling.next_run import Run, next_run, runs_to_go
from lrlora.studies.sampling.seeds import seed_order

__all__ = ["ChancePruner", "ClaimSampler", "Run", "next_run", "runs_to_go", "seed_order", "suggest_cell"]
