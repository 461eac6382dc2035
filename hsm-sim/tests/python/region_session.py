"""IBM's Key Protect client, unchanged, through the loss of a region.

Called with the path of a pair's ready file. Reads one step in each line of standard input, and answers with a line that
begins with `ok` once it held. The client keeps its connection and uses one address throughout.
"""

import base64
import io
import json
import sys
import time

import requests
from ibm_cloud_sdk_core import ApiException
from ibm_cloud_sdk_core.authenticators import IAMAuthenticator
from keyprotect.ibm_key_protect_api_v2 import IbmKeyProtectApiV2

KEY_TYPE = "application/vnd.ibm.kms.key+json"
PLAINTEXT = base64.b64encode(b"the plaintext of a data key").decode()
# Long enough for any step, on a busy machine too.
PATIENCE = 120


def body(value):
    return io.BytesIO(json.dumps(value).encode())


class Session:
    def __init__(self, ready):
        authenticator = IAMAuthenticator(ready["api_key"], url=ready["iam_url"])
        self.service = IbmKeyProtectApiV2(authenticator=authenticator)
        self.service.set_service_url(ready["rest_url"])
        # What is sent to a region that is lost is not answered.
        self.service.set_http_config({"timeout": 2})
        self.instance = ready["instance_id"]
        self.keys = {}

    def call(self, name, **arguments):
        return getattr(self.service, name)(bluemix_instance=self.instance, **arguments)

    def create(self, name):
        envelope = {
            "metadata": {"collectionType": KEY_TYPE, "collectionTotal": 1},
            "resources": [{"type": KEY_TYPE, "name": name, "extractable": False}],
        }
        answer = self.call("create_key", key_create_body=body(envelope), prefer="return=representation")
        assert answer.get_headers()["hsm-revision"], "a change says where it is"
        return answer.get_result().json()["resources"][0]["id"]

    def wrap(self, key):
        answer = self.call("wrap_key", id=key, key_action_wrap_body=body({"plaintext": PLAINTEXT}))
        return answer.get_result().json()["ciphertext"]

    def unwrap(self, key, ciphertext):
        answer = self.call("unwrap_key", id=key, key_action_unwrap_body=body({"ciphertext": ciphertext}))
        return answer.get_result().json()

    def listed(self):
        return self.call("get_keys", state=[0, 1, 2, 3, 5]).get_result().json()


def until_served(call):
    """Repeats a call while the service is away, as a client does."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except ApiException as refusal:
            # Anything else would be a wrong or a permanent answer.
            assert refusal.status_code in (408, 429, 502, 503, 504), (refusal.status_code, refusal.message)
            assert time.monotonic() < end, refusal
        except (requests.exceptions.RequestException, OSError) as error:
            assert time.monotonic() < end, error
        time.sleep(0.2)


def answered(call):
    """Repeats a call that was not answered in time, which says nothing on a busy machine."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except (requests.exceptions.RequestException, OSError):
            if time.monotonic() > end:
                raise


def refused(call, other=()):
    """The call is refused because the region is read-only, or for the reason that it would have anyway."""
    try:
        answered(call)
    except ApiException as refusal:
        if refusal.status_code in other:
            return
        assert refusal.status_code == 503, (refusal.status_code, refusal.message)
        assert "read-only" in refusal.http_response.text, refusal.http_response.text
        assert int(refusal.http_response.headers["retry-after"]) > 0
        return
    raise AssertionError("a change was accepted by a region that is read-only")


def create(kp, name):
    def once():
        key = kp.create(name)
        kp.keys[name] = (key, kp.wrap(key))

    until_served(once)


def use(kp):
    """Every key is used in every way, and read."""

    def once(key, ciphertext):
        assert kp.unwrap(key, ciphertext)["plaintext"] == PLAINTEXT
        assert kp.unwrap(key, kp.wrap(key))["plaintext"] == PLAINTEXT
        again = kp.call("rewrap_key", id=key, key_action_rewrap_body=body({"ciphertext": ciphertext}))
        assert kp.unwrap(key, again.get_result().json()["ciphertext"])["plaintext"] == PLAINTEXT
        assert kp.call("get_key_metadata", id=key).get_result().json()["resources"][0]["id"] == key
        assert kp.call("get_key_versions", id=key).get_status_code() == 200

    for key, ciphertext in kp.keys.values():
        until_served(lambda: once(key, ciphertext))
    listed = {resource["id"] for resource in until_served(kp.listed)["resources"]}
    assert listed >= {key for key, _ in kp.keys.values()}, listed


def change_nothing(kp):
    """Every change is refused, and has no effect."""
    before = until_served(kp.listed)
    refused(lambda: kp.create("refused"))
    for key, _ in kp.keys.values():
        for change in ("rotate_key", "disable_key", "delete_key"):
            refused(lambda: kp.call(change, id=key))
        for change in ("enable_key", "purge_key", "restore_key"):
            refused(lambda: kp.call(change, id=key), other=(409,))
    assert until_served(kp.listed) == before
    use(kp)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        kp = Session(json.load(file))
    steps = {"create": lambda name: create(kp, name), "use": lambda: use(kp), "refused": lambda: change_nothing(kp)}
    for line in sys.stdin:
        step, *arguments = line.split()
        steps[step](*arguments)
        print("ok", step, flush=True)


main()
