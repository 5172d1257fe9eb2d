"""A stand-in for the models of Anthropic and OpenAI: it calls tools as told, and keeps what it was shown."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tikhub_mcp.posts.answer import Json

DONE = "That is all."
Numbered = tuple[str, str, Json]  # a call's id, the tool, its arguments


class Model(ThreadingHTTPServer):
    """Answers the requests of one conversation: with the calls in their order, one a turn, and then with `DONE`.

    It speaks the Messages API and the Chat Completions API, streamed or not, as it is asked.
    """

    daemon_threads = True

    def __init__(self, *calls: tuple[str, Json]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls = calls
        self.requests: list[Json] = []  # those with tools; clients make others, for a title of the conversation, say
        self.base_url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def shown(self) -> list[str]:
        """What came of the tool calls, in the words that the model was shown last."""
        return results(self.requests[-1]["messages"])

    def next_call(self, request: Json) -> Numbered | None:
        """The call that the model makes now; None when it has made all."""
        if not request.get("tools"):
            return None
        self.requests.append(request)
        made = len(results(request["messages"]))
        return (f"call_{made}", *self.calls[made]) if made < len(self.calls) else None


def results(messages: list[Json]) -> list[str]:
    """The results of tools in a conversation, as text."""
    found = []
    for message in messages:
        if message["role"] == "tool":
            found.append(text_of(message["content"]))
        elif isinstance(message["content"], list):
            blocks = [block for block in message["content"] if block.get("type") == "tool_result"]
            found += [text_of(block["content"]) for block in blocks]
    return found


def text_of(content: Json) -> str:
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


class Handler(BaseHTTPRequestHandler):
    """One request; the connection ends with the reply."""

    server: Model

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = self.server.next_call(request) if "messages" in request else None
        if self.path.startswith("/v1/messages/count_tokens"):
            self.reply({"input_tokens": 1})
        elif self.path.startswith("/v1/messages"):
            message = claude(call)
            self.reply(message, claude_events(message) if request.get("stream") else None)
        elif self.path.startswith("/v1/chat/completions"):
            assert not request.get("stream")
            self.reply(gpt(call))
        else:
            self.send_error(404)

    def reply(self, body: Json, events: list[Json] | None = None) -> None:
        text = json.dumps(body)
        if events is not None:
            text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if events is None else "text/event-stream")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


def claude(call: Numbered | None) -> Json:
    """A reply of the Messages API."""
    block: Json = {"type": "text", "text": DONE}
    if call is not None:
        block = {"type": "tool_use", "id": call[0], "name": call[1], "input": call[2]}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "stub",
        "content": [block],
        "stop_reason": "tool_use" if call else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def claude_events(message: Json) -> list[Json]:
    """The same reply, as a stream."""
    [block] = message["content"]
    if block["type"] == "text":
        start, delta = block | {"text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        start = block | {"input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    return [
        {"type": "message_start", "message": message | {"content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ending, "usage": message["usage"]},
        {"type": "message_stop"},
    ]


def gpt(call: Numbered | None) -> Json:
    """A reply of the Chat Completions API."""
    message: Json = {"role": "assistant", "content": None if call else DONE}
    if call is not None:
        function = {"name": call[1], "arguments": json.dumps(call[2])}
        message["tool_calls"] = [{"id": call[0], "type": "function", "function": function}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "stub",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if call else "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
