"""Runs the rest of its command line so that user-mode-linux works on every x86-64 processor.

usage: launch.py COMMAND...

UML 6.1 keeps its processes' extended registers in a buffer of fixed size, and a kernel accepts them whole or not
at all: on processors with more of them (AMX) every process inside dies. Refused PTRACE_GETREGSET(NT_X86_XSTATE),
as by an old kernel, it uses PTRACE_GETFPREGS: x87 and SSE. The upper halves of AVX registers are then lost at
every page fault, so whatever runs inside must not use them; machine.py tells glibc and OpenSSL so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

SYS_PTRACE, PTRACE_GETREGSET, NT_X86_XSTATE = 101, 0x4204, 0x202
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K
NUMBER, FIRST, THIRD = 0, 16, 32  # Offsets in struct seccomp_data: the call, low halves of two of its arguments.
REFUSE, ALLOW = 0x00050000 | errno.EIO, 0x7FFF0000

PROGRAM = (
    (LOAD, 0, 0, NUMBER),
    (JUMP_EQUAL, 0, 5, SYS_PTRACE),
    (LOAD, 0, 0, FIRST),
    (JUMP_EQUAL, 0, 3, PTRACE_GETREGSET),
    (LOAD, 0, 0, THIRD),
    (JUMP_EQUAL, 0, 1, NT_X86_XSTATE),
    (RETURN, 0, 0, REFUSE),
    (RETURN, 0, 0, ALLOW),
)


def main() -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in PROGRAM))
    program = struct.pack("@HP", len(PROGRAM), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), "no seccomp filter; is this root?")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
