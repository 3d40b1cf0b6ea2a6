"""Two system calls that end at once, made without letting go of the GIL.

Python's own lets another thread run before each system call and then has to wait for its turn
again. With many threads at work that hand-over costs several times what the call does. So the
calls of `libc` itself are used where they are to be had (POSIX) and Python's where not.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from typing import Any, Callable, Optional

_AT_ONCE = getattr(socket, "MSG_DONTWAIT", 0) | getattr(socket, "MSG_NOSIGNAL", 0)
_WOULD_WAIT = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)


def send_at_once(sock: socket.socket, data: memoryview) -> int:
    """How many bytes of `data`, the whole of a bytes object, the kernel took; 0 if none without
    waiting. Raises `OSError` as `socket.send` does.
    """
    if _send is None:
        return 0
    # Not in a variable: the bytes hold secrets, and tracebacks may show variables.
    sent = _send(sock.fileno(), data.obj, len(data), _AT_ONCE)
    if sent < 0:
        _check_errno()
        return 0
    return sent


def is_silent(sock: socket.socket) -> bool:
    """Whether nothing has come on `sock`, not even its end. Takes nothing from it. Raises
    `OSError` as `socket.recv` does.
    """
    if _peek is None:
        try:
            sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        return False
    if _peek(sock.fileno(), _BYTE, 1, _AT_ONCE | socket.MSG_PEEK) < 0:
        _check_errno()
        return True
    return False


def _check_errno() -> None:
    """Raise what the last call failed with, unless it is that it would have had to wait."""
    number = ctypes.get_errno()
    if number not in _WOULD_WAIT:
        raise OSError(number, os.strerror(number))  # Python makes it a BrokenPipeError, and so on


_BYTE = ctypes.create_string_buffer(1)
_send: Optional[Callable[..., int]] = None
_peek: Optional[Callable[..., int]] = None
if hasattr(socket, "MSG_DONTWAIT"):
    try:
        _library: Any = ctypes.PyDLL(None, use_errno=True)
        _send, _peek = _library.send, _library.recv
    except (OSError, AttributeError):  # a libc that cannot be loaded by name
        pass
    else:
        for _call, _data in ((_library.send, ctypes.c_char_p), (_library.recv, ctypes.c_void_p)):
            _call.argtypes = (ctypes.c_int, _data, ctypes.c_size_t, ctypes.c_int)
            _call.restype = ctypes.c_ssize_t
