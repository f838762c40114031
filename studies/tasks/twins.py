"""Texts that differ by a word or two: they belong into one split, or the test split is one of what was trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence


def groups_of_twins(texts: Sequence[str], share: float) -> list[list[int]]:
    """Texts that have most of their words in common, directly or through others.

    Args:
        texts: What to group.
        share: Of the words that two texts have together, the least part that both must have (Jaccard's index).

    Returns:
        The positions of each group's texts, groups in the order of their first text.
    """
    import numpy as np
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    words = [sorted(set(re.findall(r"\w+", text.lower()))) for text in texts]
    columns = {word: i for i, word in enumerate(sorted(set().union(*words)))}
    counts = np.array([len(found) for found in words])
    where = ([columns[word] for found in words for word in found], np.concatenate([[0], np.cumsum(counts)]))
    holds = sparse.csr_matrix((np.ones(counts.sum(), dtype=np.int32), *where), shape=(len(texts), len(columns)))
    common = (holds @ holds.T).tocoo()
    alike = common.data >= share * (counts[common.row] + counts[common.col] - common.data)
    graph = sparse.coo_matrix((common.data[alike], (common.row[alike], common.col[alike])), shape=common.shape)
    groups: dict[int, list[int]] = {}
    for position, group in enumerate(connected_components(graph, directed=False)[1].tolist()):
        groups.setdefault(group, []).append(position)
    return list(groups.values())
