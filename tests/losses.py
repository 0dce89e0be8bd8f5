"""All losses of the output layer, for tests that hold for each."""

from sksharp.options import AbsoluteError, Huber, Quantile
from sksharp.training._losses import LOSSES as OF_SKLEARN
from sksharp.training._losses import loss_of

LEVELS = (0.05, 0.2, 0.5, 0.9)

OF_RESIDUALS = {
    "absolute_error": AbsoluteError(),
    "huber": Huber(delta=0.7),
    "quantile": Quantile(quantile=0.8),
}
LOSSES = {
    **OF_SKLEARN,
    **{name: loss_of("identity", loss) for name, loss in OF_RESIDUALS.items()},
    "three quantiles": loss_of("ascending", Quantile(quantile=LEVELS[:3])),
    "four quantiles": loss_of("ascending", Quantile(quantile=LEVELS)),
}
