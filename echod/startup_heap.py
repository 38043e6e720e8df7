"""Keeps the garbage collector away from the objects of the start: modules, classes, configuration.

It imports only the standard library, because it is called before everything else is imported.
"""

from __future__ import annotations

import gc


def pause_collection() -> None:
    """Stop garbage collections until `freeze_startup_heap`. Call it before the imports.

    They create about 100,000 objects, nearly all of which stay. Collections among them take a third of the start.
    """
    gc.disable()


def freeze_startup_heap() -> None:
    """Exempt all objects that exist now from garbage collection, and start collections again.

    Modules and configuration are about 60,000 objects. A full collection visits each of them, and clients wait for 20
    to 40 ms meanwhile; so does the end of the process. Frozen objects are still released by their reference count.
    """
    gc.freeze()
    gc.enable()
