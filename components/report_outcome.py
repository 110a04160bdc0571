"""Component: post the outcome of a run to a webhook."""

from kfp import dsl

from components import component


@component
def report_outcome(
    pipeline: str, run: str, run_id: str, status: dsl.PipelineTaskFinalStatus
) -> None:
    """Post the outcome to STREETSEG_WEBHOOK_URL, in up to three tries; it is in the log too.

    A webhook that fails does not fail the run. The warning about it does not show the URL, which is
    a secret: whoever has it may post.
    """
    import os
    import sys

    import requests
    from urllib3 import Retry

    from components.runs.outcome import read_outcome
    from streetseg.core.proxies import bypass_proxies_for_loopback, through_proxy

    url = os.environ.get("STREETSEG_WEBHOOK_URL", "")
    outcome = read_outcome(pipeline, run, run_id, status.state, status.error_message or "")
    print(outcome["text"])
    retry = Retry(
        total=2,
        redirect=False,
        backoff_factor=2,  # seconds
        allowed_methods={"POST"},
        status_forcelist=range(400, 600),
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    problem = ""
    bypass_proxies_for_loopback()
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retry))
        try:
            answer = session.post(url, json=outcome, timeout=10, allow_redirects=False)
            if answer.status_code >= 300:
                problem = f"the webhook answers with status {answer.status_code}"
        except ValueError as error:  # requests' errors about URLs, the proxy's too
            problem = "the webhook's secret has no key 'url' with a valid http:// or https:// URL"
            if "SOCKS" in str(error) or "proxy" in str(error):
                problem = f"the webhook cannot be reached{through_proxy(url)}: {error}"
        except OSError as error:
            cause: BaseException = error
            while cause.__context__:
                cause = cause.__context__
            reason = getattr(cause, "strerror", None) or type(cause).__name__
            problem = f"the webhook does not answer{through_proxy(url)}: {reason}"
    if problem:
        print(f"warning: the outcome is not reported: {problem}", file=sys.stderr)
