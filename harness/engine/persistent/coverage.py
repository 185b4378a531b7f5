"""Which layers run as one kernel a direction, and why the others do not."""

from harness.engine.gpu.launches import Layout, Piece, Product
from harness.engine.persistent.expressions import EXPRESSIONS
from harness.engine.persistent.passes import EXCHANGED, exchanges
from harness.engine.persistent.places import is_state
from harness.engine.persistent.source import Source, source
from harness.engine.persistent.tiling import SHARED_BYTES, tilings


def uncovered(plan: Layout) -> str | None:
    """Returns why a layout's time loops are not generated, or None where they are."""
    pieces = [step for step in (*plan.forward, *plan.backward) if isinstance(step, Piece)]
    operations = {node.op for piece in pieces for _, node in piece.nodes} - {"constant"}
    missing = sorted(operations - EXPRESSIONS.keys() - set(EXCHANGED))
    if missing:
        return f"it reads other units ({', '.join(missing)}), which may lie in another block"
    return _product_refusal(plan)


def _product_refusal(plan: Layout) -> str | None:
    """Returns which product's operand is not sent in time, or None.

    What a step's first phase makes of a state is sent before a block knows that all others have
    read the state of the step before: it would overwrite that.
    """
    is_before_product = True
    early = set()
    stored = set()
    for step in plan.forward:
        if isinstance(step, Product):
            is_before_product = False
            continue
        names = {place.buffer.name for place, _ in step.stores}
        stored |= names
        early |= names if is_before_product else set()
    for product in [step for step in plan.forward if isinstance(step, Product)]:
        name = product.operand.buffer.name
        if name not in stored or product.operand.width != plan.hidden_size:
            return f"the product {product.matrix} reads what no pointwise piece writes"
        if is_state(product.operand) and product.operand.ahead == 0 and name in early:
            return (
                f"the product {product.matrix} reads a state that the next step makes anew before "
                "its first product"
            )
    return None


def fitted(
    plan: Layout, precision: str, architecture: int, most_bytes: int | None = None
) -> Source:
    """Returns the kernels for the fewest blocks whose shared memory suffices.

    Where none suffices they are those for the most blocks, and :func:`capacity` says why not.
    """
    for tile in tilings(plan.hidden_size, architecture, exchanges(plan)):
        code = source(plan, precision, tile)
        if capacity(code, architecture, most_bytes) is None:
            break
    return code


def capacity(code: Source, architecture: int, most_bytes: int | None = None) -> str | None:
    """Returns why a layer's kernels do not fit a device, or None where they do.

    Args:
        code: The kernels.
        architecture: 90 for sm_90.
        most_bytes: Of shared memory that a block may have on a device; None: as many as on the
            first device of the architecture.
    """
    most = SHARED_BYTES[architecture] if most_bytes is None else most_bytes
    if code.shared_bytes <= most:
        return None
    return (
        f"a block must have at most {most:,} bytes of shared memory on sm_{architecture}, but got "
        f"shared_bytes={code.shared_bytes:,}"
    )
