"""Any cell as a module of torch, beside torch.nn's own: ``Recurrent`` and ``RecurrentCell``.

torch and NumPy are enough for it. See docs/layer.md.
"""

from harness.layer.cell import RecurrentCell
from harness.layer.recurrent import Recurrent

__all__ = ["Recurrent", "RecurrentCell"]
