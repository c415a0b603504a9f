"""Chats made up by rule, to teach a small model tool calls and answers in a schema: `python -m benchmarks.tool_chats FILE`.

Files:
    values.py   values to fill in: names in many scripts, places, dates, numbers, words
    tools.py    tools, with the ways people ask for them and what they answer
    talk.py     what is said without any tool
    formats.py  schemas of answers, with texts and the answers to them
    scenes.py   the kinds of chats that are put together from these
"""
