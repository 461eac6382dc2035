"""A day in the life of IBM's Key Protect client, unchanged, while a crypto unit is killed and healed.

Called with the path of a region's ready file. Prints one line for each step that held; fails on the first that did not.
"""

import base64
import io
import json
import os
import sys
import threading
import urllib.request

from ibm_cloud_sdk_core import ApiException
from ibm_cloud_sdk_core.authenticators import BearerTokenAuthenticator, IAMAuthenticator
from keyprotect.ibm_key_protect_api_v2 import IbmKeyProtectApiV2

KEY_TYPE = "application/vnd.ibm.kms.key+json"


def body(value):
    return io.BytesIO(json.dumps(value).encode())


def b64(data):
    return base64.b64encode(data).decode()


class Session:
    """One caller of one instance."""

    def __init__(self, ready, instance, authenticator):
        self.service = IbmKeyProtectApiV2(authenticator=authenticator)
        self.service.set_service_url(ready["rest_url"])
        self.instance = instance

    def create(self, **resource):
        envelope = {
            "metadata": {"collectionType": KEY_TYPE, "collectionTotal": 1},
            "resources": [{"type": KEY_TYPE, **resource}],
        }
        answer = self.service.create_key(
            bluemix_instance=self.instance, key_create_body=body(envelope), prefer="return=representation"
        )
        assert answer.get_status_code() == 201, answer.get_status_code()
        return answer.get_result().json()["resources"][0]

    def wrap(self, key, **request):
        return self.service.wrap_key(
            id=key, bluemix_instance=self.instance, key_action_wrap_body=body(request)
        ).get_result().json()

    def unwrap(self, key, **request):
        return self.service.unwrap_key(
            id=key, bluemix_instance=self.instance, key_action_unwrap_body=body(request)
        ).get_result().json()

    def rewrap(self, key, **request):
        return self.service.rewrap_key(
            id=key, bluemix_instance=self.instance, key_action_rewrap_body=body(request)
        ).get_result().json()

    def call(self, name, key, **arguments):
        return getattr(self.service, name)(id=key, bluemix_instance=self.instance, **arguments)


def refused(status, code, call, *args, **kwargs):
    """The call fails with this status, and this code where the service gives one."""
    try:
        call(*args, **kwargs)
    except ApiException as refusal:
        text = refusal.http_response.text
        assert refusal.status_code == status, (refusal.status_code, text)
        assert code is None or code in text, (code, text)
        return
    raise AssertionError(f"expected {status} {code}, and it went well")


def control(ready, path, request=None):
    data = None if request is None else json.dumps(request).encode()
    headers = {"Authorization": "Bearer " + ready["control_token"]}
    return json.load(urllib.request.urlopen(urllib.request.Request(ready["control_url"] + path, data, headers)))


def wrap_and_unwrap(kp):
    key = kp.create(name="generated", extractable=False)
    assert key["extractable"] is False and key["state"] == 1 and key["imported"] is False, key
    assert key["crn"].split(":")[-1] == key["id"] and "payload" not in key, key

    for size in (18, 24, 32, 35):
        plaintext = b64(os.urandom(size))
        wrapped = kp.wrap(key["id"], plaintext=plaintext)
        assert kp.unwrap(key["id"], ciphertext=wrapped["ciphertext"])["plaintext"] == plaintext
    fresh = kp.wrap(key["id"])
    assert len(base64.b64decode(fresh["plaintext"])) == 32
    assert kp.unwrap(key["id"], ciphertext=fresh["ciphertext"])["plaintext"] == fresh["plaintext"]

    aad = ["volume-7", "tenant"]
    bound = kp.wrap(key["id"], plaintext=b64(b"data key"), aad=aad)
    assert kp.unwrap(key["id"], ciphertext=bound["ciphertext"], aad=aad)["plaintext"] == b64(b"data key")
    for other in ([], ["volume-7"], ["volume-7tenant"], ["tenant", "volume-7"]):
        refused(422, "UNPROCESSABLE_CIPHERTEXT_ERR", kp.unwrap, key["id"], ciphertext=bound["ciphertext"], aad=other)
    print("ok: wrap and unwrap, with and without associated data")
    return key["id"]


def rotation(kp, key):
    before = kp.wrap(key, plaintext=b64(b"before"))
    assert kp.call("rotate_key", key).get_status_code() == 204
    old = kp.unwrap(key, ciphertext=before["ciphertext"])
    assert old["plaintext"] == b64(b"before")
    assert old["keyVersion"]["id"] == key and old["rewrappedKeyVersion"]["id"] != key
    again = kp.unwrap(key, ciphertext=old["ciphertext"])
    assert again["plaintext"] == b64(b"before") and "rewrappedKeyVersion" not in again
    rewrapped = kp.rewrap(key, ciphertext=before["ciphertext"])
    assert "plaintext" not in rewrapped
    assert kp.unwrap(key, ciphertext=rewrapped["ciphertext"])["plaintext"] == b64(b"before")
    versions = kp.call("get_key_versions", key).get_result().json()["resources"]
    assert [version["id"] for version in versions][-1] == key and len(versions) == 2, versions
    refused(409, "KEY_ROTATION_NOT_PERMITTED", kp.call, "rotate_key", key)
    print("ok: a rotated key opens what its first version wrapped")


def imports(kp, other):
    for size in (16, 24, 32):
        material = b64(os.urandom(size))
        key = kp.create(name=f"imported {size}", extractable=False, payload=material)
        assert key["imported"] is True
        twin = other.create(name="twin", extractable=False, payload=material)
        wrapped = kp.wrap(key["id"], plaintext=b64(b"shared"))
        assert other.unwrap(twin["id"], ciphertext=wrapped["ciphertext"])["plaintext"] == b64(b"shared")
        refused(404, "KEY_NOT_FOUND_ERR", other.wrap, key["id"], plaintext=b64(b"x"))
    for size in (13, 31, 33):
        refused(400, None, kp.create, name="bad size", extractable=False, payload=b64(os.urandom(size)))
    refused(400, "KEY_PAYLOAD_REQ_ERR", kp.call, "rotate_key", key["id"])
    new = body({"payload": b64(os.urandom(32))})
    assert kp.call("rotate_key", key["id"], key_action_rotate_body=new).get_status_code() == 204
    print("ok: imported keys of 16, 24 and 32 bytes; the same material in two instances")


def standard(kp):
    secret = os.urandom(300)
    key = kp.create(name="standard", extractable=True, payload=b64(secret))
    got = kp.call("get_key", key["id"]).get_result().json()["resources"][0]
    assert base64.b64decode(got["payload"]) == secret
    seen = kp.call("get_key_metadata", key["id"]).get_result().json()["resources"][0]
    assert "payload" not in seen
    refused(400, "KEY_ROOT_REQ_ERR", kp.wrap, key["id"], plaintext=b64(b"x"))
    print("ok: standard keys")


def states(ready, kp, key):
    wrapped = kp.wrap(key, plaintext=b64(b"kept"))
    kp.call("disable_key", key)
    refused(409, "KEY_ACTION_INVALID_STATE_ERR", kp.wrap, key, plaintext=b64(b"x"))
    refused(409, "KEY_ACTION_INVALID_STATE_ERR", kp.unwrap, key, ciphertext=wrapped["ciphertext"])
    refused(409, "REQ_TOO_EARLY_ERR", kp.call, "enable_key", key)
    control(ready, "/clock/advance", {"seconds": 31})
    kp.call("enable_key", key)
    assert kp.unwrap(key, ciphertext=wrapped["ciphertext"])["plaintext"] == b64(b"kept")
    print("ok: disable, and enable after the clock was moved")


def listing(kp):
    before = {key["id"] for key in pages(kp)}
    made = [kp.create(name=f"key {n}", extractable=n % 2 == 0, payload=b64(os.urandom(32)))["id"] for n in range(250)]
    listed = [key["id"] for key in pages(kp)]
    assert len(listed) == len(set(listed)) == len(before) + 250
    assert set(made) <= set(listed)
    standard_keys = [key["id"] for key in pages(kp, extractable=True)]
    assert set(made[::2]) <= set(standard_keys) and not set(made[1::2]) & set(standard_keys)
    count = kp.service.get_key_collection_metadata(bluemix_instance=kp.instance).get_headers()["Key-Total"]
    assert int(count) == len(listed), count
    print("ok: 250 keys listed by pages")
    return made


def pages(kp, limit=64, **filters):
    found = []
    while True:
        answer = kp.service.get_keys(bluemix_instance=kp.instance, limit=limit, offset=len(found), **filters)
        page = answer.get_result().json()
        resources = page.get("resources") or []
        assert page["metadata"]["collectionTotal"] == len(resources)
        found += resources
        if len(resources) < limit:
            return found


def deletion(kp, made):
    for key in made[:20]:
        assert kp.call("delete_key", key).get_status_code() == 204
    left = {key["id"] for key in pages(kp)}
    assert not left & set(made[:20]) and set(made[20:]) <= left
    refused(410, "KEY_DELETED_ERR", kp.wrap, made[1], plaintext=b64(b"x"))
    gone = kp.call("get_key_metadata", made[1]).get_result().json()["resources"][0]
    assert gone["state"] == 5 and gone["deleted"] is True
    print("ok: deleted keys are gone from the list and refuse to work")


def refusals(ready, kp):
    token = BearerTokenAuthenticator("not-a-token")
    refused(401, None, Session(ready, kp.instance, token).wrap, "any")
    stranger = Session(ready, "6e1c4d7c-8c7c-4d3c-9b6e-000000000000", kp.service.authenticator)
    refused(404, None, stranger.create, name="nobody's", extractable=False)
    nowhere = Session(ready, "not-a-uuid", kp.service.authenticator)
    refused(400, "Bluemix-Instance", nowhere.create, name="nobody's", extractable=False)
    refused(404, "KEY_NOT_FOUND_ERR", kp.wrap, "no-such-key", plaintext=b64(b"x"))
    print("ok: bad token, wrong instance, unknown key")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        ready = json.load(file)
    kp = Session(ready, ready["instance_id"], IAMAuthenticator(ready["api_key"], url=ready["iam_url"]))
    other = Session(ready, ready["instance_id_2"], BearerTokenAuthenticator(ready["tokens"][0]))

    # A unit dies and comes back again and again until all that follows is done; nobody below repeats a request.
    over = threading.Event()
    faults = []

    def play():
        unit = 1
        while not over.is_set():
            control(ready, "/fault", {"fault": "kill", "target": {"unit": unit}})
            over.wait(0.3)
            control(ready, "/heal", {"unit": unit})
            while not all(u["state"] in ("eligible", "warming") for u in status(ready)["units"]):
                over.wait(0.02)
            faults.append(unit)
            unit = 3 - unit

    player = threading.Thread(target=play)
    player.start()
    try:
        key = wrap_and_unwrap(kp)
        rotation(kp, key)
        imports(kp, other)
        standard(kp)
        states(ready, kp, key)
        made = listing(kp)
        deletion(kp, made)
        refusals(ready, kp)
        while len(faults) < 4:
            wrapped = kp.wrap(key, plaintext=b64(b"meanwhile"))
            assert kp.unwrap(key, ciphertext=wrapped["ciphertext"])["plaintext"] == b64(b"meanwhile")
    finally:
        over.set()
        player.join()
    print(f"ok: all of this while units were killed and healed {len(faults)} times")


def status(ready):
    return control(ready, "/status")


if __name__ == "__main__":
    main()
