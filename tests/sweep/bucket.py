"""A bucket in this process: as much of S3 as a storage asks for, over real HTTP."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

Object = tuple[bytes, datetime]


def unchunked(data: bytes) -> bytes:
    """What was sent in chunks, each after its size, with checksums behind."""
    plain, at = b"", 0
    while size := int(re.split(rb"[;\r]", data[at : at + 100], maxsplit=1)[0], 16):
        at = data.index(b"\r\n", at) + 2
        plain, at = plain + data[at : at + size], at + size + 2
    return plain


class Bucket(BaseHTTPRequestHandler):
    """Answers as S3 does. ``down`` is whether it refuses everything, as in an outage."""

    protocol_version = "HTTP/1.1"
    objects: ClassVar[dict[str, Object]]
    parts: ClassVar[dict[str, dict[int, bytes]]]
    numbers: ClassVar[Iterator[int]]
    down: ClassVar[bool]

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/")

    @property
    def query(self) -> dict[str, str]:
        found = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        return {name: values[0] for name, values in found.items()}

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        coded = "aws-chunked" in self.headers.get("Content-Encoding", "")
        return unchunked(data) if coded else data

    def answer(self, code: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refused(self) -> bool:
        if self.down:
            self.body()
            self.answer(403, b"<Error><Code>AccessDenied</Code><Message>down</Message></Error>")
        return self.down

    def do_HEAD(self) -> None:
        if self.refused():
            return
        if "/" not in self.key:
            self.answer(200, x_amz_bucket_region="us-east-1")
        elif self.key in self.objects:
            self.found()
        else:
            self.answer(404)

    def do_GET(self) -> None:
        if self.refused():
            return
        if "list-type" in self.query:
            self.answer(200, self.listed().encode(), Content_Type="application/xml")
        elif self.key in self.objects:
            self.found()
        else:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def found(self) -> None:
        data, at = self.objects[self.key]
        stamp = at.strftime("%a, %d %b %Y %H:%M:%S GMT")
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if span is None:
            code, some = 200, data
        else:
            code, some = 206, data[int(span[1]) : int(span[2]) + 1]
        if self.command == "HEAD":
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Last-Modified", stamp)
            self.end_headers()
        else:
            self.answer(code, some, Last_Modified=stamp, ETag='"x"')

    def listed(self) -> str:
        bucket, prefix = self.key.rstrip("/"), self.query.get("prefix", "")
        rows, folders = "", set[str]()
        for name, (data, at) in sorted(self.objects.items()):
            key = name.removeprefix(f"{bucket}/")
            if not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if "delimiter" in self.query and "/" in rest:
                folders.add(prefix + rest.partition("/")[0] + "/")
                continue
            stamp = at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
            rows += f"<Contents><Key>{escape(key)}</Key><LastModified>{stamp}</LastModified>"
            rows += f"<Size>{len(data)}</Size></Contents>"
        for folder in sorted(folders):
            rows += f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
        size = f"<KeyCount>{rows.count('<Key>') + len(folders)}</KeyCount>"
        return f"<ListBucketResult><Name>{bucket}</Name>{size}{rows}</ListBucketResult>"

    def do_PUT(self) -> None:
        if self.refused():
            return
        if "partNumber" in self.query:
            self.parts[self.query["uploadId"]][int(self.query["partNumber"])] = self.body()
        else:
            self.objects[self.key] = (self.body(), datetime.now(UTC))
        self.answer(200, ETag='"x"')

    def do_POST(self) -> None:
        if self.refused():
            return
        text = self.body().decode()
        if "uploads" in self.query:
            upload = str(next(self.numbers))
            self.parts[upload] = {}
            self.answer(
                200,
                f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId>"
                "</InitiateMultipartUploadResult>".encode(),
            )
        elif "uploadId" in self.query:
            parts = self.parts.pop(self.query["uploadId"])
            whole = b"".join(parts[n] for n in sorted(parts))
            self.objects[self.key] = (whole, datetime.now(UTC))
            self.answer(200, b"<CompleteMultipartUploadResult><ETag>x</ETag>"
                             b"</CompleteMultipartUploadResult>")  # fmt: skip
        else:
            for name in re.findall("<Key>(.*?)</Key>", text):
                self.objects.pop(f"{self.key.rstrip('/')}/{name}", None)
            self.answer(200, b"<DeleteResult></DeleteResult>")

    def do_DELETE(self) -> None:
        if self.refused():
            return
        self.objects.pop(self.key, None)
        self.answer(204)


@contextmanager
def bucket() -> Iterator[tuple[str, type[Bucket]]]:
    """A bucket's address as a storage is given it, and what is in it."""

    class Own(Bucket):
        objects: ClassVar[dict[str, Object]] = {}
        parts: ClassVar[dict[str, dict[int, bytes]]] = {}
        numbers: ClassVar[Iterator[int]] = count()
        down: ClassVar[bool] = False

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    where = f"endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=us-east-1"
    try:
        yield f"s3://bucket/sweeps?{where}", Own
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
