"""The system calls for privileges that Python does not offer, with cffi in ABI mode. They affect the calling thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

PR_SET_NO_NEW_PRIVS: Final = 38  # prctl(2); <linux/prctl.h>
PR_CAPBSET_DROP: Final = 24
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
CAPABILITIES_V3: Final = 0x20080522  # capget(2); _LINUX_CAPABILITY_VERSION_3

_DECLARATIONS: Final = """
    struct cap_header { uint32_t version; int pid; };
    struct cap_data { uint32_t effective, permitted, inheritable; };
    int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);
    int capget(struct cap_header *, struct cap_data *);
    int capset(struct cap_header *, const struct cap_data *);
    long syscall(long, ...);
"""


class Kernel:
    """The calls. Each raises OSError if the kernel refuses; the constructor does if cffi is not installed."""

    def __init__(self) -> None:
        try:
            import cffi
        except ImportError:
            raise OSError(None, "privileges cannot be dropped without cffi; install it") from None
        self.ffi: Any = cffi.FFI()
        self.ffi.cdef(_DECLARATIONS)
        self._library: Any = self.ffi.dlopen(None)

    def prctl(self, option: int, first: int = 0, second: int = 0) -> int:
        """Read or change a setting of the thread; two arguments at most."""
        return self._checked(self._library.prctl, option, first, second, 0, 0)

    def capabilities(self) -> tuple[int, int, int]:
        """The effective, permitted and inheritable sets, as bits."""
        header, data = self._sets()
        self._checked(self._library.capget, header, data)
        low, high = data[0], data[1]
        return (
            low.effective | high.effective << 32,
            low.permitted | high.permitted << 32,
            low.inheritable | high.inheritable << 32,
        )

    def drop_capabilities(self) -> None:
        """Empty all three sets."""
        self._checked(self._library.capset, *self._sets())

    def syscall(self, number: int, *arguments: Any) -> int:
        """Any call by its number; whole numbers are passed as long."""
        cast = self.ffi.cast
        return self._checked(
            self._library.syscall, number, *(cast("long", one) if isinstance(one, int) else one for one in arguments)
        )

    def _sets(self) -> tuple[Any, Any]:
        header = self.ffi.new("struct cap_header *", {"version": CAPABILITIES_V3})
        return header, self.ffi.new("struct cap_data[2]")

    def _checked(self, call: Callable[..., int], *arguments: Any) -> int:
        result = call(*arguments)
        if result < 0:
            number = int(self.ffi.errno)
            raise OSError(number, os.strerror(number))
        return int(result)
