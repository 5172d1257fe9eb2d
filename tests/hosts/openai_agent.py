"""An agent of the OpenAI Agents SDK with the server's tools; it prints the last words of its model.

Its argument is JSON: the address of the `model`, the `server` to start, and `options` of the connection to it.
"""

import asyncio
import json
import sys

from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from agents.mcp import MCPServerStdio
from openai import AsyncOpenAI


async def main() -> None:
    told = json.loads(sys.argv[1])
    set_tracing_disabled(True)  # it would be sent to OpenAI
    model = OpenAIChatCompletionsModel("a-model", AsyncOpenAI(base_url=told["model"], api_key="a-key-of-no-one"))
    async with MCPServerStdio(told["server"], **told["options"]) as server:
        result = await Runner.run(Agent("downloader", mcp_servers=[server], model=model), "Download these.")
    print(result.final_output)


asyncio.run(main())
