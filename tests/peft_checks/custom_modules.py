"""Modules that are no models of transformers, each with something that an adapter may stumble over."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from subjects import Batch, Subject
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class MLP(nn.Module):
    """Two layers, dropout and a bias."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.lin0 = nn.Linear(10, 20, bias=bias)
        self.relu = nn.ReLU()
        self.drop = nn.Dropout(0.1)
        self.lin1 = nn.Linear(20, 4, bias=bias)

    def forward(self, X: Tensor) -> Tensor:
        return self.lin1(self.drop(self.relu(self.lin0(X))))


class Block(nn.Module):
    """A residual block, with a linear layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.lin0 = nn.Linear(10, 10)
        self.lin1 = nn.Linear(10, 10)

    def forward(self, X: Tensor) -> Tensor:
        return X + self.lin1(torch.tanh(self.lin0(torch.tanh(self.lin0(X)))))


class Deep(nn.Module):
    """Blocks in a list, as layers of a transformer are, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block() for _ in range(3)])
        self.head = nn.Linear(10, 4)

    def forward(self, X: Tensor) -> Tensor:
        for layer in self.layers:
            X = layer(X)
        return self.head(X)


class Normed(nn.Module):
    """A module with a buffer that changes in training."""

    def __init__(self) -> None:
        super().__init__()
        self.lin0 = nn.Linear(10, 12)
        self.norm = nn.BatchNorm1d(12)
        self.lin1 = nn.Linear(12, 4)

    def forward(self, X: Tensor) -> Tensor:
        return self.lin1(torch.tanh(self.norm(self.lin0(X))))


class Transposed(nn.Module):
    """Transformers' ``Conv1D``, whose weight is laid out the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1d = Conv1D(14, 10)
        nn.init.normal_(self.conv1d.weight)
        self.lin1 = nn.Linear(14, 4)

    def forward(self, X: Tensor) -> Tensor:
        return self.lin1(torch.relu(self.conv1d(X)))


class Embedded(nn.Module):
    """An embedding and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(30, 8, padding_idx=0)
        self.lin0 = nn.Linear(8, 4)

    def forward(self, X: Tensor) -> Tensor:
        return self.lin0(torch.tanh(self.emb(X)))


class Convolved(nn.Module):
    """Convolutions with stride, padding and groups, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.conv1 = nn.Conv2d(6, 6, 3, groups=2, padding="same")
        self.lin0 = nn.Linear(6 * 9, 4)

    def forward(self, X: Tensor) -> Tensor:
        return self.lin0(torch.tanh(self.conv1(torch.tanh(self.conv0(X)))).flatten(1))


class Convolved1d(nn.Module):
    """A convolution over time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv1d(4, 6, 3)
        self.lin0 = nn.Linear(6 * 4, 4)

    def forward(self, X: Tensor) -> Tensor:
        return self.lin0(torch.tanh(self.conv0(X)).flatten(1))


class Convolved3d(nn.Module):
    """A convolution over space."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv3d(2, 3, 2)
        self.lin0 = nn.Linear(3 * 8, 4)

    def forward(self, X: Tensor) -> Tensor:
        return self.lin0(torch.tanh(self.conv0(X)).flatten(1))


class Misleading(nn.Module):
    """Modules of the base whose names read like those of an adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.lrlora_head = nn.Linear(10, 12)
        self.lin0 = nn.Linear(12, 12)
        self.head_lrlora_A = nn.Linear(12, 4)

    def forward(self, X: Tensor) -> Tensor:
        return self.head_lrlora_A(torch.tanh(self.lin0(torch.tanh(self.lrlora_head(X)))))


class Tied(nn.Module):
    """An embedding whose weight is the head's as well."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(30, 8)
        self.lin0 = nn.Linear(8, 8)
        self.head = nn.Linear(8, 30, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, X: Tensor) -> Tensor:
        return self.head(torch.tanh(self.lin0(self.emb(X))))


class Attending(nn.Module):
    """PyTorch's own attention beside a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(10, 2, batch_first=True)
        self.lin0 = nn.Linear(10, 4)

    def forward(self, X: Tensor) -> Tensor:
        return self.lin0(self.mha(X[:, None], X[:, None], X[:, None])[0][:, 0])


class InTwoPlaces(nn.Module):
    """One linear layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(10, 10)
        self.second = self.first
        self.head = nn.Linear(10, 4)

    def forward(self, X: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(X)))))


def _drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def rows() -> Batch:
    """Rows of ten numbers."""
    return {"X": _drawn(6, 10)}


def numbers() -> Batch:
    """Token numbers, some of them the padding token and some more than once."""
    return {"X": torch.tensor([[1, 5, 0, 7], [5, 29, 7, 7], [2, 3, 0, 0]])}


def images() -> Batch:
    """Images of five by five."""
    return {"X": _drawn(3, 4, 5, 5)}


def sounds() -> Batch:
    """Six steps of four channels."""
    return {"X": _drawn(3, 4, 6)}


def volumes() -> Batch:
    """Cubes of three voxels a side."""
    return {"X": _drawn(3, 2, 3, 3, 3)}


MODULES = [
    Subject("mlp", MLP, rows, {"target_modules": ["lin0"]}),
    Subject("mlp, both layers", MLP, rows, {"target_modules": ["lin0", "lin1"]}),
    Subject("mlp without bias", lambda: MLP(bias=False), rows, {"target_modules": ["lin1"]}),
    Subject(
        "mlp, head saved",
        MLP,
        rows,
        {"target_modules": ["lin0"], "modules_to_save": ["lin1"]},
        trained_beside=("lin1",),
    ),
    Subject("mlp, expression", MLP, rows, {"target_modules": r".*lin[01]"}),
    Subject("mlp, all linear", MLP, rows, {"target_modules": "all-linear"}),
    Subject("mlp, ranks", MLP, rows, {"target_modules": ["lin0", "lin1"], "rank_pattern": {"lin0": 3}}),
    Subject("deep", Deep, rows, {"target_modules": ["lin0", "lin1"]}),
    Subject("normed", Normed, rows, {"target_modules": ["lin0"]}),
    Subject("transposed", Transposed, rows, {"target_modules": ["conv1d"]}),
    Subject("embedding", Embedded, numbers, {"target_modules": ["emb"]}),
    Subject("embedding and linear", Embedded, numbers, {"target_modules": ["emb", "lin0"]}),
    Subject("conv2d", Convolved, images, {"target_modules": ["conv0"]}),
    Subject("conv2d groups", Convolved, images, {"target_modules": ["conv0", "conv1", "lin0"]}),
    Subject("conv1d over time", Convolved1d, sounds, {"target_modules": ["conv0"]}),
    Subject("conv3d", Convolved3d, volumes, {"target_modules": ["conv0"]}),
    Subject("misleading names", Misleading, rows, {"target_modules": ["lin0"]}),
]


def squared(model: nn.Module, batch: Batch) -> Tensor:
    """A loss that any of these modules can be trained on."""
    return F.mse_loss(model(**batch), torch.ones(()).expand_as(model(**batch)))
