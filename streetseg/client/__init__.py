"""A client for a running service; no model is needed on this machine.

from streetseg.client import Client

with Client("http://127.0.0.1:3000") as service:
    answer = service.segment("frame.png")
    answer.value          # uint8[H, W], category ids
    answer.model_version  # of the model that made it
"""

from importlib.util import find_spec

if find_spec("httpx") is None:
    raise ImportError("streetseg.client needs httpx: pip install '.[client]' in a checkout")

from streetseg.client.clients import AsyncClient, Client
from streetseg.client.folder import Folder
from streetseg.client.request import Answer, Image, ServiceError

__all__ = ["Answer", "AsyncClient", "Client", "Folder", "Image", "ServiceError"]
