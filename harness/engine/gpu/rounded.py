"""Copies in bfloat16 of what products read: they are rounded where they are written.

Without them every product of every time step would first cast its operand, a launch of its own.
"""

from dataclasses import replace

from harness.engine.gpu.launches import Buffer, Layout, Piece, Place, Product, Step


def with_rounded_operands(plan: Layout) -> Layout:
    """Returns a layout whose products read such copies, which pieces write beside the values.

    An operand that no piece of its direction writes keeps its place.
    """
    forward, backward = _rounded(plan.forward), _rounded(plan.backward)
    return replace(plan, forward=forward, backward=backward)


def _rounded(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    pieces = [step for step in steps if isinstance(step, Piece)]
    written = {place.buffer for piece in pieces for place, _ in piece.stores}
    operands = [
        step.operand
        for step in steps
        if isinstance(step, Product) and step.operand.buffer in written
    ]
    return tuple(_of_step(step, operands) for step in steps)


def _of_step(step: Step, operands: list[Place]) -> Step:
    if isinstance(step, Product):
        return replace(step, operand=_copy(step.operand)) if step.operand in operands else step
    copies = [
        (_copy(place), i)
        for place, i in step.stores
        if any(_overlap(place, operand) for operand in operands)
    ]
    return replace(step, stores=(*step.stores, *copies))


def _overlap(a: Place, b: Place) -> bool:
    is_apart = a.first + a.width <= b.first or b.first + b.width <= a.first
    return a.buffer == b.buffer and not is_apart


def _copy(place: Place) -> Place:
    """Returns where the copy lies.

    A copy is read in the time step that writes it or in the next one, so that two are enough.
    """
    whole = place.buffer
    return replace(
        place, buffer=Buffer(f"{whole.name}.rounded", whole.width, extra=2, is_rounded=True)
    )
