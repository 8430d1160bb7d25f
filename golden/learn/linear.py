# SPDX-License-Identifier: Apache-2.0
"""Logistic regression on standardised frozen features, by scikit-learn."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from respin.golden.data import ImageSet
from respin.golden.float_network import FloatNetwork
from respin.golden.learn.learner import Learner, Prepared, State

ITERATIONS = 1000


class LinearLearner(Learner):
    """The head that a solver finds; it knows no steps.

    Parameters
    ----------
    network:
        Gives the features.
    inverse_penalty:
        C of scikit-learn's ``LogisticRegression``.
    """

    def __init__(self, network: FloatNetwork, *, inverse_penalty: float) -> None:
        self.network = network
        self.model = LogisticRegression(C=inverse_penalty, max_iter=ITERATIONS)

    def fit(self, images: ImageSet) -> None:
        """Find the head for ``images``."""
        features = self.network.features_of(images.images)
        self.network.standardise(features)
        self.model.fit(self._standardised(features), images.labels.numpy())

    def _standardised(self, features: Tensor) -> np.ndarray:
        standardised: np.ndarray = ((features - self.network.mean) / self.network.deviation).numpy()
        return standardised

    def begin(self, steps: int) -> None:
        """Begin anew: the next fit starts from nothing anyway."""

    def step(self, images: Tensor | Prepared, labels: Tensor) -> tuple[float, int]:
        """Refused: it is fitted at once."""
        raise NotImplementedError("a logistic regression is fitted at once, not step by step")

    def predict(self, images: Tensor) -> Tensor:
        """Return the likeliest class."""
        return torch.from_numpy(self.model.predict(self._standardised(self.network.features_of(images))))

    def state(self) -> State:
        """Return nothing: there is nothing to go on from."""
        return {}

    def load(self, state: State) -> None:
        """Go back to nothing."""
