"""How agents fare that wear a soft prompt for tools: `python -m benchmarks.agent_trial FOLDER`.

Tools and questions are in none of the chats of `benchmarks.tool_chats`, which a test shows.

Files:
    tools.py    tools that agents are given
    cases.py    what is asked of them, which calls are right, and what the answer has to say
"""
