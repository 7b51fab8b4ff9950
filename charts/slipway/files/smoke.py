# ruff: noqa: T201
"""What `helm test` runs: the operator is ready, the CRD is served, and the operator's ServiceAccount may read it.

smoke.py OPERATOR_URL API_SERVER_URL SERVICE_ACCOUNT_FOLDER [NAMESPACE...]
"""

import json
import ssl
import sys
import time
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

ATTEMPTS = 20
"""One each second: a Service just made may take some seconds until it routes."""
RESOURCE = "/apis/slipway.dev/v1alpha1"


def get(url, path, context=None, headers=None):
    """Status and body of the answer; a status of 0 with the reason when there is none."""
    host = urlsplit(url).netloc
    connection = HTTPSConnection(host, timeout=10, context=context) if context else HTTPConnection(host, timeout=10)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)
    finally:
        connection.close()


def expect_ok(what, url, path, **options):
    for _ in range(ATTEMPTS):
        status, body = get(url, path, **options)
        if status == 200:
            print(f"ok: {what}")
            return body
        if status in (401, 403, 404):
            break
        time.sleep(1)
    sys.exit(f"failed: {what}. {url}{path} answered {status or 'nothing'}: {body.strip()[:500]}")


def main(operator, api_server, account, *namespaces):
    expect_ok("the operator is ready", operator, "/readyz")
    expect_ok("the operator shows its metrics", operator, "/metrics")
    api = {
        "context": ssl.create_default_context(cafile=f"{account}/ca.crt"),
        "headers": {"Authorization": f"Bearer {Path(account, 'token').read_text().strip()}"},
    }
    found = json.loads(expect_ok("the API server serves slipway.dev/v1alpha1", api_server, RESOURCE, **api))
    if not {"modeldeployments", "modeldeployments/status"} <= {item["name"] for item in found["resources"]}:
        sys.exit("failed: the CRD modeldeployments.slipway.dev is not established. Try: kubectl describe crd")
    for namespace in namespaces or [None]:
        path = f"{RESOURCE}/namespaces/{namespace}/modeldeployments" if namespace else f"{RESOURCE}/modeldeployments"
        where = f"namespace {namespace}" if namespace else "every namespace"
        expect_ok(f"the operator may list ModelDeployments in {where}", api_server, f"{path}?limit=1", **api)


if __name__ == "__main__":
    main(*sys.argv[1:])
