"""How other programs reach a served model: ready to copy, with the address filled in, but for the key."""

from __future__ import annotations

import json

KEY = "MODELFORGE_API_KEY"
"""The environment variable in which the snippets expect the key."""


def write_snippets(address: str, model: str) -> dict[str, str]:
    """Title -> text. address: of the API, ending in /v1."""
    name, said = json.dumps(model, ensure_ascii=False), '[{"role": "user", "content": "Hello"}]'
    body = json.dumps({"model": model, "messages": json.loads(said)}, ensure_ascii=False).replace("'", "'\\''")
    return {
        "curl": f"""curl {address}/chat/completions \\
  -H "Authorization: Bearer ${KEY}" -H "Content-Type: application/json" \\
  -d '{body}'""",
        "Python, openai": f"""import os
from openai import OpenAI

client = OpenAI(base_url="{address}", api_key=os.environ["{KEY}"])
answer = client.chat.completions.create(model={name}, messages={said})
print(answer.choices[0].message.content)""",
        "LangChain": f"""import os
from langchain_openai import ChatOpenAI

chat = ChatOpenAI(base_url="{address}", api_key=os.environ["{KEY}"], model={name})
print(chat.invoke("Hello").content)""",
        "continue.dev, config.yaml": f"""models:
  - name: ModelForge
    provider: openai
    model: {name}
    apiBase: {address}
    apiKey: ${{{{ secrets.{KEY} }}}}""",
    }
