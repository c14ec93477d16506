"""What an object holds on to."""

from torch import Tensor


def held_tensors(root: object) -> tuple[int, int]:
    """Number and bytes of all tensors that an object holds on to, however deep."""
    found: dict[int, int] = {}
    pending, seen = [root], set()
    while pending:
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            found[item.untyped_storage().data_ptr()] = item.untyped_storage().nbytes()
        elif isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, list | tuple | set):
            pending += item
        elif hasattr(item, "__dict__"):
            pending += vars(item).values()
    return len(found), sum(found.values())
