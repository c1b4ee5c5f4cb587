#!/usr/bin/python3
"""An independent gRPC server and client (grpcio), without generated code: messages are bytes as they are.

    grpc_peer.py serve             a server in the clear; says its port, and then which of its calls hang and end
    grpc_peer.py call PORT CA      every kind of call through a gate at that port, told as one JSON object
"""
import json
import queue
import sys
from concurrent import futures

import grpc

PATIENCE = 30


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        method = details.method.rsplit("/", 1)[1]
        kinds = {
            "Unary": (grpc.unary_unary_rpc_method_handler, self.unary),
            "Many": (grpc.unary_stream_rpc_method_handler, self.many),
            "Collect": (grpc.stream_unary_rpc_method_handler, self.collect),
            "Both": (grpc.stream_stream_rpc_method_handler, self.both),
            "Fail": (grpc.unary_unary_rpc_method_handler, self.fail),
            "Late": (grpc.unary_stream_rpc_method_handler, self.late),
            "Hang": (grpc.unary_stream_rpc_method_handler, self.hang),
        }
        if method not in kinds:
            return None
        make, act = kinds[method]
        return make(act)

    def unary(self, request, context):
        told = {name: str(value) for name, value in context.invocation_metadata()}
        told["message"] = request.decode()
        told["remaining"] = context.time_remaining()
        context.send_initial_metadata((("x-head", "1"),))
        context.set_trailing_metadata((("x-trail", "2"), ("x-trail-bin", b"\x00\xff")))
        return json.dumps(told).encode()

    def many(self, request, context):
        for number in range(100):
            yield request + str(number).encode()

    def collect(self, requests, context):
        return b",".join(requests)

    def both(self, requests, context):
        for request in requests:
            yield request + b"!"

    def fail(self, request, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: \u00e4")

    def late(self, request, context):
        yield b"one"
        context.abort(grpc.StatusCode.DATA_LOSS, "after the first")

    def hang(self, request, context):
        ended = queue.Queue()
        context.add_callback(lambda: ended.put(True))
        say("hangs")
        context.send_initial_metadata(())
        ended.get(timeout=PATIENCE)
        say("ended")
        yield b""


def say(text):
    print(text, flush=True)


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Echo(),))
    say(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()


def outcome(call):
    try:
        call()
    except grpc.RpcError as error:
        return {"code": error.code().name, "details": error.details()}
    return {"code": "OK"}


def call(port, ca):
    with open(ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    channel = grpc.secure_channel(f"localhost:{port}", credentials, (("grpc.enable_http_proxy", 0),))
    told = {}

    metadata = (("x-meta", "7"), ("x-auth-subject", "root"), ("x-meta-bin", b"\x01\xfe"))
    answer, made = channel.unary_unary("/t.Echo/Unary").with_call(b"hello", timeout=20, metadata=metadata)
    told["unary"] = json.loads(answer)
    told["head"] = dict(made.initial_metadata()).get("x-head")
    told["trail"] = {name: str(value) for name, value in made.trailing_metadata()}

    told["many"] = [answer.decode() for answer in channel.unary_stream("/t.Echo/Many")(b"n", timeout=PATIENCE)]
    told["collect"] = channel.stream_unary("/t.Echo/Collect")(iter([b"a", b"b", b"c"]), timeout=PATIENCE).decode()
    large = b"x" * 3_000_000
    told["large"] = len(channel.stream_unary("/t.Echo/Collect")(iter([large]), timeout=PATIENCE))

    # Each word is said only when the one before has come back.
    words, back = queue.Queue(), []
    both = channel.stream_stream("/t.Echo/Both")(iter(words.get, None), timeout=PATIENCE)
    for word in (b"one", b"two", b"three"):
        words.put(word)
        back.append(next(both).decode())
    words.put(None)
    told["both"] = back + [answer.decode() for answer in both]

    told["fail"] = outcome(lambda: channel.unary_unary("/t.Echo/Fail")(b"", timeout=PATIENCE))
    told["late"] = outcome(lambda: list(channel.unary_stream("/t.Echo/Late")(b"", timeout=PATIENCE)))
    told["none"] = outcome(lambda: channel.unary_unary("/t.Echo/None")(b"", timeout=PATIENCE))

    told["deadline"] = outcome(lambda: list(channel.unary_stream("/t.Echo/Hang")(b"", timeout=1)))
    hanging = channel.unary_stream("/t.Echo/Hang")(b"", timeout=PATIENCE)
    hanging.initial_metadata()
    hanging.cancel()
    told["cancel"] = outcome(lambda: list(hanging))

    for name, path, message in (
        ("private", "/t.Private/Unary", b""),
        ("small", "/t.Small/Unary", b"more than ten bytes"),
        ("gone", "/t.Gone/Unary", b""),
        ("drained", "/t.Drained/Unary", b""),
        ("nowhere", "/t.Nowhere/Unary", b""),
    ):
        told[name] = outcome(lambda: channel.unary_unary(path)(message, timeout=PATIENCE))
    print(json.dumps(told))


if sys.argv[1] == "serve":
    serve()
else:
    call(sys.argv[2], sys.argv[3])
