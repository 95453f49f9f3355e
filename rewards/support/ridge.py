"""Ridge regression on standardised features: X [N, F] and y [N] in, a predictor out, in float64."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ridge:
    """`prediction = ((x - mean) / scale) @ coefficients + intercept`; all float64, features [F]."""

    mean: Tensor
    scale: Tensor
    coefficients: Tensor
    intercept: Tensor

    @classmethod
    def fit(cls, x: Tensor, y: Tensor, alpha: float) -> Ridge:
        """Least squares with penalty `alpha |coefficients|^2` on features of population deviation 1 (constant ones: 0).

        Equal to scikit-learn's StandardScaler and Ridge; solved in the smaller of N and F dimensions.
        """
        x, y = x.double(), y.double()
        mean, scale = x.mean(0), x.std(0, correction=0)
        scale = torch.where(scale > 0, scale, 1.0)
        z, centred = (x - mean) / scale, y - y.mean()
        if len(z) < z.shape[1]:
            kernel = z @ z.t() + alpha * torch.eye(len(z), dtype=z.dtype, device=z.device)
            coefficients = z.t() @ torch.linalg.solve(kernel, centred)
        else:
            kernel = z.t() @ z + alpha * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
            coefficients = torch.linalg.solve(kernel, z.t() @ centred)
        return cls(mean, scale, coefficients, y.mean())

    def __call__(self, x: Tensor) -> Tensor:
        """Predictions [N], on x's device."""
        m, s, c, b = (t.to(x.device) for t in (self.mean, self.scale, self.coefficients, self.intercept))
        return ((x.double() - m) / s) @ c + b

    def state(self) -> dict[str, Tensor]:
        return asdict(self)
