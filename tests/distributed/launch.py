"""Start a script in two processes on this machine."""

import os
import subprocess
import sys


def torchrun(script, *arguments, timeout=300):
    """Run a script in two processes that meet on the loopback interface.

    Returns
    -------
    stdout : str
        What they print, line by line, each line with the number of its process.
    """
    command = [sys.executable, "-m", "torch.distributed.run"]
    command += ["--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    settings = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    paths = [path for path in sys.path if path]
    with subprocess.Popen(
        [*command, str(script), *map(str, arguments)],
        env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as launcher:
        try:
            out, errors = launcher.communicate(timeout=timeout)
        finally:
            # asked, and not killed, it ends the two as well
            launcher.terminate()
    assert launcher.returncode == 0, errors[-4000:]
    return out
