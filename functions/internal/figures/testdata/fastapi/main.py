"""A collector as the reference design has it: it checks the form of an event, answers, and keeps nothing."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Event(BaseModel):
    event_type: str
    schema_version: str
    payload: dict[str, Any]


@app.post("/api/v1/collect")
async def collect(event: Event) -> dict[str, str]:
    return {"status": "ok"}


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}
