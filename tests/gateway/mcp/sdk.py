"""The Python SDK at a server: it connects, lists, calls, is told of changes, asks its person, and is refused."""

import asyncio
import sys

import httpx2
from mcp import Client, MCPError, types
from mcp.client.streamable_http import streamable_http_client

URL, KEY = sys.argv[1:3]
CHANGED = asyncio.Event()


def http(key):
    return httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60)


async def accept(context, params):
    assert "careful" in params.message, params
    return types.ElicitResult(action="accept", content={})


async def hear(message):
    if isinstance(message, types.ToolListChangedNotification):
        CHANGED.set()


async def session(mode):
    transport = streamable_http_client(URL, http_client=http(KEY))
    async with Client(transport, mode=mode, elicitation_callback=accept, message_handler=hear) as client:
        print("connected", mode, client.protocol_version)
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"echo__go", "relay__careful"} <= set(tools), tools
        assert tools["echo__go"].annotations.read_only_hint, tools["echo__go"]
        assert tools["relay__careful"].annotations.destructive_hint
        result = await client.call_tool("echo__go", {"a": "ä"})
        assert result.structured_content == {"a": "ä"} and not result.is_error, result
        failed = await client.call_tool("relay__read", {"path": 7})
        assert failed.is_error and failed.structured_content["error"]["code"] == "INVALID_ARGUMENTS", failed
        paid = await client.call_tool("relay__careful", {"path": f"/pay/{mode}"})
        assert paid.structured_content["status"] == 200, paid
        try:
            await client.call_tool("nope__go", {})
            raise AssertionError("an unknown tool was called")
        except MCPError as error:
            assert error.error.code == -32602, error
        await told(client, mode)


async def told(client, mode):
    """Says that it listens; whoever runs this then changes something."""
    if mode == "legacy":
        CHANGED.clear()
        await asyncio.sleep(0.5)
        print("listening", flush=True)
        await asyncio.wait_for(CHANGED.wait(), 30)
    else:
        async with client.listen(tools_list_changed=True) as subscription:
            print("listening", flush=True)
            async with asyncio.timeout(30):
                async for _ in subscription:
                    break
    print("told", flush=True)


async def refused():
    try:
        async with Client(streamable_http_client(URL, http_client=http("pc_wrong")), mode="legacy"):
            raise AssertionError("a wrong key got in")
    except AssertionError:
        raise
    except BaseException as error:
        print("refused", type(error).__name__)


async def main():
    await session("legacy")
    await session("auto")
    await refused()
    print("done", flush=True)


asyncio.run(main())
