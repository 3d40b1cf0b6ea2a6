"""A chat completions server that is not Python: nginx with the Lua module, on a loopback port.

Debian: `apt-get install --no-install-recommends nginx libnginx-mod-http-lua`.
"""

from __future__ import annotations

import base64
import random
import shutil
import socket
import subprocess
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

MODULES = Path("/usr/lib/nginx/modules")

# The headers are those of a real answer of OpenAI's, with limits that never bind.
CONFIG = """
load_module {modules}/ndk_http_module.so;
load_module {modules}/ngx_http_lua_module.so;
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  server_tokens off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_buffer_size 1m;
  client_body_in_single_buffer on;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  {prelude}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    default_type application/json;
    add_header x-request-id $request_id;
    add_header openai-processing-ms {delay_ms};
    add_header x-ratelimit-limit-requests 1000000000;
    add_header x-ratelimit-remaining-requests 999999999;
    add_header x-ratelimit-reset-requests 6ms;
    add_header x-ratelimit-limit-tokens 1000000000000;
    add_header x-ratelimit-remaining-tokens 999999999000;
    add_header x-ratelimit-reset-tokens 12ms;
    location = /v1/chat/completions {{
      content_by_lua_block {{
        ngx.req.read_body()
        local body = ngx.req.get_body_data() or ""
        local echo, at = '""', 1
        while true do  -- the last text in the body, still escaped as JSON
          local first, last = ngx.re.find(
            body, [["(?:content|text)":\\s*"(?:[^"\\\\]|\\\\.)*"]], "jo", {{ pos = at }})
          if not first then break end
          echo = body:sub(first, last):match('^"%a+":%s*(.*)$')
          at = last + 1
        end
        if {delay_ms} > 0 then ngx.sleep({delay_ms} / 1000) end
        local read, written = math.ceil(#body / 4), math.ceil(#echo / 4)
        local answer = '{{"id":"chatcmpl-' .. ngx.var.request_id
          .. '","object":"chat.completion","created":' .. ngx.time()
          .. ',"model":"gpt-4.1-mini-2025-04-14","choices":[{{"index":0,"message":'
          .. '{{"role":"assistant","content":' .. echo
          .. ',"refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"stop"}}],'
          .. '"usage":{{"prompt_tokens":' .. read .. ',"completion_tokens":' .. written
          .. ',"total_tokens":' .. read + written
          .. ',"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},'
          .. '"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,'
          .. '"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}},'
          .. '"service_tier":"default","system_fingerprint":"fp_benchmark"}}'
        ngx.header.content_length = #answer
        ngx.print(answer)
      }}
    }}
    {more}
  }}
}}
"""

# The answers are made beforehand, for each number of texts: the server must not be what is slow.
EMBEDDINGS = """
    location = /v1/embeddings {{
      content_by_lua_block {{
        ngx.req.read_body()
        local body = ngx.req.get_body_data() or ""
        local form = body:find('"base64"', 1, true) and "b" or "f"
        local _, texts = body:gsub('Text ', '')
        local answer = package.loaded.answers[form .. texts]
        if not answer then
          local rows = {{}}
          for index = 0, texts - 1 do
            rows[#rows + 1] = '{{"object":"embedding","index":' .. index
              .. ',"embedding":' .. package.loaded.vectors[form .. index] .. '}}'
          end
          answer = '{{"object":"list","data":[' .. table.concat(rows, ",")
            .. '],"model":"text-embedding-3-small","usage":{{"prompt_tokens":' .. texts * 10
            .. ',"total_tokens":' .. texts * 10 .. '}}}}'
          package.loaded.answers[form .. texts] = answer
        end
        ngx.header.content_length = #answer
        ngx.print(answer)
      }}
    }}
"""
VECTORS = """
  init_by_lua_block {{
    package.loaded.answers, package.loaded.vectors = {{}}, {{}}
    for line in io.lines("{home}/vectors") do
      local name, vector = line:match("^(%S+) (.*)$")
      package.loaded.vectors[name] = vector
    end
  }}
"""


class Nginx:
    """nginx while the `with` block runs; each answer echoes the last user message."""

    def __init__(self, *, delay_ms: int = 0) -> None:
        self.delay_ms = delay_ms
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Nginx:
        if shutil.which("nginx") is None or not (MODULES / "ngx_http_lua_module.so").exists():
            raise SystemExit("apt-get install --no-install-recommends nginx libnginx-mod-http-lua")
        self._home = tempfile.TemporaryDirectory()
        home = Path(self._home.name)
        text = CONFIG.format(
            modules=MODULES,
            home=home,
            port=self.port,
            delay_ms=self.delay_ms,
            **self._additions(home),
        )
        (home / "nginx.conf").write_text(text)
        self._process = subprocess.Popen(
            ["nginx", "-p", home, "-c", "nginx.conf", "-e", "error.log"]
        )
        try:
            wait_for_port(self.port, self._process)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _additions(self, home: Path) -> dict[str, str]:
        """More of the configuration; what it needs is put into `home`."""
        return {"prelude": "", "more": ""}

    def __exit__(self, *_: Any) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._home.cleanup()


class EmbeddingNginx(Nginx):
    """The same with embeddings of a few `dimensions`, in base64 or as numbers, as it is asked. The
    vector at index n begins with the number n.
    """

    MOST_TEXTS = 256

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self._dimensions = dimensions

    def _additions(self, home: Path) -> dict[str, str]:
        draw = random.Random(0)
        lines = []
        for index in range(self.MOST_TEXTS):
            numbers = [draw.uniform(-0.1, 0.1) for _ in range(self._dimensions)]
            vector = array("f", [float(index), *numbers[1:]])
            lines.append(f'b{index} "{base64.b64encode(vector.tobytes()).decode()}"')
            # As many digits as OpenAI's answers have.
            lines.append(f"f{index} [" + ",".join(f"{number:.8g}" for number in vector) + "]")
        (home / "vectors").write_text("\n".join(lines) + "\n")
        return {"prelude": VECTORS.format(home=home), "more": EMBEDDINGS.format()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[Any], seconds: float = 10) -> None:
    """Return when somebody listens; raise when the process has ended or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nothing listens on port {port}; exit code {process.poll()}")
