"""Conversations: memory, lists, names and ends."""

from tests.demo.box.running import RunningBox


def test_the_next_turn_remembers(box: RunningBox) -> None:
    first = box.chat("my name is Ada")
    conversation = first.events[-1]["conversation_id"]
    told = box.chat("!tell", conversation_id=conversation).told
    assert told["messages"][1:] == [
        ["user", "my name is Ada"],
        ["assistant", "my name is Ada"],
        ["user", "!tell"],
    ]


def test_a_failed_turn_is_remembered_without_an_answer(box: RunningBox) -> None:
    first = box.chat("!raise InvokeBadRequestError no")
    told = box.chat("!tell", conversation_id=first.events[-1]["conversation_id"]).told
    assert told["messages"][1:] == [["user", "!raise InvokeBadRequestError no"], ["user", "!tell"]]


def test_turns_are_counted(box: RunningBox) -> None:
    first = box.chat("hello")
    assert first.one("workflow_started")["data"]["inputs"]["sys.dialogue_count"] == 1
    second = box.chat("hello", conversation_id=first.events[-1]["conversation_id"])
    assert second.one("workflow_started")["data"]["inputs"]["sys.dialogue_count"] == 2


def test_an_unknown_conversation_is_not_found(box: RunningBox) -> None:
    response = box.block("hi", conversation_id="0b8e8d4e-6f0f-4a44-8d66-2b8b9f1f3f10")
    assert response.status_code == 404
    said, _, added = response.json().pop("message").partition(" You have requested this URI ")
    assert (response.json()["code"], response.json()["status"], said) == ("not_found", 404, "Conversation Not Exists.")
    assert added.startswith("[/v1/chat-messages] but did you mean /v1/chat-messages or ")


def test_another_users_conversation_is_not_found(box: RunningBox) -> None:
    mine = box.chat("hi", user="ada").events[-1]["conversation_id"]
    assert box.block("hi", user="eve", conversation_id=mine).status_code == 404


def test_conversations_are_listed_newest_first(box: RunningBox) -> None:
    ids = [box.chat(f"talk {number}", user="lister").events[-1]["conversation_id"] for number in range(3)]
    page = box.request("GET", "conversations", params={"user": "lister", "limit": 2}).json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([ids[2], ids[1]], True)
    rest = box.request("GET", "conversations", params={"user": "lister", "last_id": ids[1]}).json()
    assert ([each["name"] for each in rest["data"]], rest["has_more"]) == (["talk 0"], False)


def test_a_conversation_can_be_renamed(box: RunningBox) -> None:
    conversation = box.chat("hi", user="namer").events[-1]["conversation_id"]
    named = box.request("POST", f"conversations/{conversation}/name", json={"name": "Greeting", "user": "namer"})
    assert named.json()["name"] == "Greeting"
    again = box.request("POST", f"conversations/{conversation}/name", json={"auto_generate": True, "user": "namer"})
    assert again.json()["name"] == "hi"
    refused = box.request("POST", f"conversations/{conversation}/name", json={"user": "namer"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_param")


def test_a_deleted_conversation_is_gone(box: RunningBox) -> None:
    conversation = box.chat("hi", user="leaver").events[-1]["conversation_id"]
    gone = box.request("DELETE", f"conversations/{conversation}", json={"user": "leaver"})
    assert (gone.status_code, gone.content) == (204, b"")
    assert box.request("DELETE", f"conversations/{conversation}", json={"user": "leaver"}).status_code == 404
    assert box.block("hi", user="leaver", conversation_id=conversation).status_code == 404


def test_messages_come_in_pages_oldest_first(box: RunningBox) -> None:
    conversation = box.chat("1", user="reader").events[-1]["conversation_id"]
    for text in "234":
        box.chat(text, user="reader", conversation_id=conversation)
    asked = {"conversation_id": conversation, "user": "reader", "limit": 2}
    page = box.request("GET", "messages", params=asked).json()
    assert ([each["query"] for each in page["data"]], page["has_more"]) == (["3", "4"], True)
    older = box.request("GET", "messages", params={**asked, "first_id": page["data"][0]["id"]}).json()
    assert ([each["answer"] for each in older["data"]], older["has_more"]) == (["1", "2"], False)
