"""Application of a server: its addresses, and an answer in JSON to every request."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from mutualnet3d.deploy.prediction import Prediction
from mutualnet3d.log import printable
from mutualnet3d.results.json_rows import row_to_json
from mutualnet3d.serving.answers import AnswerError, JsonAnswer, LingeringAnswer
from mutualnet3d.serving.limits import ServingLimits
from mutualnet3d.serving.metrics import ServingMetrics
from mutualnet3d.serving.query import PredictionQuery
from mutualnet3d.serving.rooted_file import NoFileError, file_below
from mutualnet3d.serving.service import BudgetError, PredictionService
from mutualnet3d.serving.turns import FullError, Turns
from mutualnet3d.serving.upload import UploadError, received_upload
from mutualnet3d.video.errors import VideoDecodeError

_CLIENT_GONE = 499  # of nginx: nobody gets it, metrics count it
_BODY = {
    "requestBody": {
        "description": "A video, unless `path` names one.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"video": {"type": "string", "format": "binary"}}}
            },
        },
    }
}


def create_app(
    service: PredictionService,
    limits: ServingLimits,
    root: str | None = None,
    hosts: Sequence[str] = ("*",),
    version: str = "",
) -> FastAPI:
    """Return the application.

    Args:
        service: prepared predictor.
        limits: limits of the server.
        root: folder of videos that requests may name; None: no folder.
        hosts: names of this server that requests may be addressed to, against pages from elsewhere whose name is made
            to point to this machine. "*": any.
        version: version of this package, for the description of the addresses.
    """
    predictions = Predictions(service, limits, root)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        predictions.close()

    app = FastAPI(
        title="mutualnet3d",
        version=version or "unknown",
        docs_url=None,  # their pages load scripts from other hosts
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_api_route("/predict", predictions.predict, methods=["POST"], response_model=None, openapi_extra=_BODY)
    app.add_api_route("/model", predictions.model, methods=["GET"], response_model=None)
    app.add_api_route("/metrics", predictions.metrics, methods=["GET"], response_model=None)
    app.add_api_route("/health", health, methods=["GET"], response_model=None)
    app.add_exception_handler(RequestValidationError, _wrong_query)
    app.add_exception_handler(HTTPException, _no_such_address)
    app.add_exception_handler(Exception, _our_mistake)
    return app


class Predictions:
    """Handlers of the addresses.

    Args:
        service: prepared predictor.
        limits: limits of the server.
        root: folder of videos that requests may name; None: no folder.
    """

    def __init__(self, service: PredictionService, limits: ServingLimits, root: str | None):
        self._service, self._limits, self._root = service, limits, root
        self._turns = Turns(limits.workers, limits.queue, limits.queue_seconds)
        self._receiving = 0
        self._metrics = ServingMetrics(
            lambda: self._turns.running, lambda: self._turns.waiting, lambda: self._receiving
        )

    def close(self) -> None:
        """Drop the calls that wait."""
        self._turns.close()

    async def predict(self, request: Request, query: Annotated[PredictionQuery, Query()]) -> Response:
        """Predict the labels of a video: the body of the request, or a file of the server's folder."""
        started = time.monotonic()
        answer: Response
        try:
            prediction = await self._predicted(request, query)
        except AnswerError as error:
            answer = error.answer()
        except ClientDisconnect:
            answer = Response(status_code=_CLIENT_GONE)
        else:
            self._metrics.add(prediction, time.monotonic() - started)
            answer = JsonAnswer(prediction.to_json())
        self._metrics.count(answer.status_code)
        return answer

    async def model(self) -> Response:
        """Describe the model of the server: classes, sub-networks, and costs and accuracy of the front."""
        predictor = self._service.predictor
        content = {
            "class_names": list(predictor.class_names),
            "backend": predictor.backend,
            "subnets": list(map(str, predictor.configs)),
            "front": list(map(row_to_json, self._service.points)),
        }
        return JsonAnswer(content)

    async def metrics(self) -> Response:
        """Return the server's numbers for Prometheus."""
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _predicted(self, request: Request, query: PredictionQuery) -> Prediction:
        try:
            budget = query.budget()
        except ValueError as error:
            raise AnswerError(400, str(error)) from error
        try:
            self._turns.check()
            async with AsyncExitStack() as stack:
                if query.path is not None:
                    name = printable(query.path)
                    fd = stack.enter_context(file_below(self._named_root(request), query.path))
                else:
                    with self._one_more_body():
                        limits = self._limits
                        receiving = received_upload(
                            request.headers, request.stream(), limits.upload_bytes, limits.upload_seconds
                        )
                        upload = await stack.enter_async_context(receiving)
                    name, fd = upload.name, upload.file.fileno()
                try:
                    work = functools.partial(self._service.predict, fd, name, budget, query.top)
                    return await unless_gone(request, self._turns, work)
                except BudgetError as error:
                    raise AnswerError(400, str(error)) from error
                except (VideoDecodeError, ValueError) as error:
                    raise AnswerError(422, str(error), source=name) from error
        except FullError as error:
            raise AnswerError(429, str(error)) from error
        except UploadError as error:
            raise AnswerError(error.status, str(error)) from error
        except NoFileError as error:
            raise AnswerError(404, str(error)) from error

    def _named_root(self, request: Request) -> str:
        if self._root is None:
            raise AnswerError(403, "this server opens no files by their path: it was started without --root")
        if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
            raise AnswerError(400, "give a video in the body of the request or a `path`, not both")
        return self._root

    @contextmanager
    def _one_more_body(self) -> Iterator[None]:
        if self._receiving >= self._limits.uploads:
            raise FullError(f"{self._receiving} bodies are being received; try again")
        self._receiving += 1
        try:
            yield
        finally:
            self._receiving -= 1


async def unless_gone(request: Request, turns: Turns, work: functools.partial[Prediction]) -> Prediction:
    """Return the result of some work, unless the client disconnects.

    If it disconnects, work that waits is dropped. Work that runs is waited for, since its file is closed after it.

    Args:
        request: request of the client.
        turns: queue of the work.
        work: prediction to be made.

    Returns:
        The prediction.

    Raises:
        ClientDisconnect: the client has disconnected.
    """
    running = asyncio.create_task(turns.run(work))
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({running, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise ClientDisconnect
        return running.result()
    finally:
        gone.cancel()
        running.cancel()
        await asyncio.wait({running, gone})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def health() -> Response:
    """Tell that the server takes requests."""
    return JsonAnswer({"status": "ok"})


async def _wrong_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    texts = (f"{'.'.join(map(str, item['loc'][1:])) or 'query'}: {item['msg']}" for item in error.errors())
    return AnswerError(400, printable("; ".join(texts))[:1000]).answer()


async def _no_such_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return LingeringAnswer({"error": str(error.detail)}, error.status_code, error.headers)


async def _our_mistake(request: Request, error: Exception) -> Response:
    return JsonAnswer({"error": "an error of the server; its log has more"}, 500)
