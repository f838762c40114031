"""Collection rules. The folders below are collected once, as the subpackages of lrlora that they are."""

collect_ignore = ["bases", "registry", "studies", "build"]
