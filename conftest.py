"""Collection rules, and one setting of hypothesis. The folders below are collected as the subpackages that they are."""

from hypothesis import HealthCheck, settings

collect_ignore = ["bases", "registry", "studies", "build"]

# A time limit, per example or for drawing them, measures the machine. All else stays as hypothesis chose it: random,
# but fixed under CI.
settings.register_profile("lrlora", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lrlora")
