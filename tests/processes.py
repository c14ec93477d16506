"""Processes that a test ends, found by their command lines."""

import psutil


def processes_below(parent: psutil.Process, words: str) -> list[psutil.Process]:
    """Those whose command lines hold the words, in no order; one that ends meanwhile is none of them."""
    found = []
    for process in parent.children(recursive=True):
        try:
            if words in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found
