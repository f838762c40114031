"""Collection rules, and one setting of hypothesis. The folders below are collected as the subpackages that they are."""

from hypothesis import settings

collect_ignore = ["bases", "registry", "studies", "build"]

# A time limit per example measures the machine. All else stays as hypothesis chose it: random, but fixed under CI.
settings.register_profile("lrlora", settings.default, deadline=None)
settings.load_profile("lrlora")
