"""Recording on a CPU what CUDA would capture: operations with their addresses, and Python's numbers
as they were.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS_ON_CUDA = ("aten::_linalg_check_errors", "aten::linalg_matrix_exp")
"""Operations that ask a GPU for a value behind Python's back (pytorch/pytorch#96632)."""


class Tape(TorchDispatchMode):
    """Remembers every operation, and refuses those that would make Python wait for the device or
    copy from it.

    The operations are done while they are recorded, as their results are needed; at the end
    everything that was there before is as it was.
    """

    def __init__(self):
        super().__init__()
        self._entries, self._alive, self._made, self._before = [], [], set(), {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten.lift_fresh.default:
            raise RuntimeError(
                "a tensor is made of Python's numbers\nwhich a device would have to wait for"
            )
        schema = func._schema
        is_answer = any(str(r.type) not in ("Tensor", "List[Tensor]") for r in schema.returns)
        if is_answer or schema.name in WAITS_ON_CUDA:
            raise RuntimeError(
                f"{schema.name} makes Python wait for the device\nwhich no record can"
            )
        if schema.is_mutable:
            self._save(argument for argument in written(schema, args, kwargs))
        found = func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]
        self._alive += [args, kwargs, outputs]  # no address is given out twice
        if schema.is_mutable:
            self._entries.append((func, args, kwargs, ()))
        elif all(r.alias_info is None for r in schema.returns):  # else a view: it stays where it is
            self._made |= {output.untyped_storage().data_ptr() for output in outputs}
            self._entries.append((func, args, kwargs, outputs))
        return found

    def _save(self, tensors):
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._made and storage.data_ptr() not in self._before:
                self._before[storage.data_ptr()] = storage, storage.clone()

    def __exit__(self, *error):
        super().__exit__(*error)
        for storage, before in self._before.values():
            storage.copy_(before)

    @torch.no_grad()
    def replay(self):
        """Does the operations again; memory that was empty holds NaN."""
        for func, args, kwargs, outputs in self._entries:
            found = func(*args, **kwargs)
            is_empty = "empty" in func._schema.name
            for home, value in zip(outputs, tree_leaves(found), strict=False):
                home.fill_(torch.nan) if is_empty and home.is_floating_point() else home.copy_(
                    value
                )


def written(schema, args, kwargs):
    """Yields the tensors that an operation writes to."""
    for index, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = (
                kwargs.get(argument.name)
                if argument.kwarg_only or index >= len(args)
                else args[index]
            )
            yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor))


class TapeRecorder:
    """Records on tapes.

    ``calls`` says what it was asked for; ``ends`` is called at the end of each.
    """

    def __init__(self):
        self.calls = []

    def run(self, work):
        self.calls.append("run")
        work()

    def record(self, work):
        self.calls.append("record")
        tape = Tape()
        with tape:
            work()

        def replay():
            self.calls.append("replay")
            tape.replay()

        return replay
