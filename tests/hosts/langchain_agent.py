"""An agent of LangChain with the server's tools; it prints the last words of its model.

Its argument is JSON: the address of the `model`, the `server` to start, and in `options` the `seconds` after which a
call is given up. Such a call is made again, by LangChain itself.
"""

import asyncio
import json
import sys
from datetime import timedelta

from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from langchain_openai import ChatOpenAI


async def main() -> None:
    told = json.loads(sys.argv[1])
    limit = {"read_timeout_seconds": timedelta(**told["options"])}
    client = MultiServerMCPClient({"tikhub": told["server"] | {"transport": "stdio", "session_kwargs": limit}})
    model = ChatOpenAI(model="a-model", base_url=told["model"], api_key="a-key-of-no-one")
    async with client.session("tikhub") as session:  # without it each call starts a server of its own
        again = ToolRetryMiddleware(initial_delay=0.1)
        agent = create_agent(model, await load_mcp_tools(session), middleware=[again])
        result = await agent.ainvoke({"messages": [("user", "Download these.")]})
    print(result["messages"][-1].content)


asyncio.run(main())
