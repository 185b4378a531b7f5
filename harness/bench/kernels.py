"""What a device does in an update, by torch.profiler."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

UPDATES = 5
"""So many updates are profiled."""
MOST_KERNELS = 12
"""So many of the slowest are kept."""
MOST_CHARACTERS = 80
"""Of a kernel's name: those of templates fill pages."""

Slowest = tuple[tuple[str, float, float], ...]


def profiled(work: Callable[[int], None], device: str) -> tuple[float, float, Slowest]:
    """Returns launches and microseconds an update, and the slowest: name, launches, microseconds.

    Args:
        work: Does so many updates, and returns when they are done.
        device: On "cuda" what counts is what the device does, kernels and copies, whether launched
            or replayed; on "cpu" torch's operations in the present thread.

    Raises:
        RuntimeError: The profiler saw nothing of the GPU.
    """
    on_cuda = device == "cuda"
    activity = ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU
    with profile(activities=[activity]) as seen:
        work(UPDATES)
    rows = []
    for event in seen.key_averages():
        if event.device_type.name == activity.name:  # CUDA's own calls on the host are told too
            spent = event.self_device_time_total if on_cuda else event.self_cpu_time_total
            rows.append((event.key[:MOST_CHARACTERS], event.count / UPDATES, spent / UPDATES))
    if on_cuda and not rows:
        raise RuntimeError(
            "torch.profiler saw nothing of the GPU; a driver may keep that from all but the "
            "administrator"
        )
    rows.sort(key=lambda row: -row[2])
    launches, microseconds = sum(row[1] for row in rows), sum(row[2] for row in rows)
    return launches, microseconds, tuple(rows[:MOST_KERNELS])
