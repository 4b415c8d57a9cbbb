BEGIN TRANSACTION;
CREATE TABLE calls (
	id VARCHAR(40) NOT NULL,
	ticket_id VARCHAR(64) NOT NULL,
	position INTEGER NOT NULL,
	name VARCHAR(128) NOT NULL,
	arguments TEXT NOT NULL,
	output TEXT,
	is_error BOOLEAN,
	images TEXT,
	digest VARCHAR(64),
	resolved_at FLOAT,
	state VARCHAR(20) NOT NULL,
	verdict TEXT NOT NULL,
	asked TEXT,
	decide_until FLOAT,
	lease VARCHAR(40),
	executor VARCHAR(40),
	leased_until FLOAT,
	handouts INTEGER NOT NULL, asked_for TEXT, granted TEXT,
	PRIMARY KEY (id),
	FOREIGN KEY(ticket_id) REFERENCES tickets (id)
);
INSERT INTO "calls" VALUES('callok3etrnq8fhzv7b6f4y5725k','jhx7fcquhzqbopz1p5hrr0',0,'read_file','{"path": "notes.md"}',NULL,NULL,NULL,NULL,NULL,'ready','left to the client',NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
CREATE TABLE clawback_store (
	version INTEGER NOT NULL, 
	probed_at FLOAT DEFAULT '0' NOT NULL, 
	padding TEXT DEFAULT '' NOT NULL
);
INSERT INTO "clawback_store" VALUES(2,1.79574215233459591866e+09,'');
CREATE TABLE clients (
	name VARCHAR(64) NOT NULL, 
	token_hash VARCHAR(80) NOT NULL, 
	apps TEXT DEFAULT '[]' NOT NULL, 
	requests_per_minute INTEGER, 
	open_tickets INTEGER, 
	tokens_per_day INTEGER, 
	created_at FLOAT NOT NULL, 
	expires_at FLOAT, 
	used_at FLOAT, 
	PRIMARY KEY (name), 
	UNIQUE (token_hash)
);
CREATE TABLE end_users (
	uuid VARCHAR(64) NOT NULL,
	dify_user VARCHAR(64) NOT NULL,
	updated_at FLOAT NOT NULL,
	PRIMARY KEY (uuid)
);
INSERT INTO "end_users" VALUES('cc7d09f4-32ec-430a-9e8a-bf18b4991229','clawback-92c2c362b825e167',1.7957281391890838146e+09);
INSERT INTO "end_users" VALUES('d0672c64-e35b-4c89-a0c1-3332cd51500a','clawback-q6uuy4f3o64mwbw9nz96',1.79572813941997075077e+09);
CREATE TABLE events (
	id INTEGER NOT NULL,
	at FLOAT NOT NULL,
	run_id VARCHAR(40) NOT NULL,
	ticket_id VARCHAR(64) NOT NULL,
	call_id VARCHAR(40),
	actor VARCHAR(160) NOT NULL,
	event VARCHAR(20) NOT NULL,
	"before" VARCHAR(20) NOT NULL,
	"after" VARCHAR(20) NOT NULL,
	detail TEXT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "events" VALUES(1,1.79572813936625170702e+09,'pkqlhmbt5daw67tyeckk','jhx7fcquhzqbopz1p5hrr0',NULL,'plugin','open','','open','');
INSERT INTO "events" VALUES(2,1.7957281393672475815e+09,'pkqlhmbt5daw67tyeckk','jhx7fcquhzqbopz1p5hrr0','callok3etrnq8fhzv7b6f4y5725k','bridge','allow','open','ready','left to the client');
CREATE TABLE exchanges (
	id INTEGER NOT NULL, 
	session_key VARCHAR(64) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	whole VARCHAR(64) NOT NULL, 
	inputs VARCHAR(64) NOT NULL, 
	frame VARCHAR(64) NOT NULL, 
	updated_at FLOAT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE executors (
	id VARCHAR(40) NOT NULL,
	name VARCHAR(128) NOT NULL,
	tools TEXT NOT NULL,
	patterns TEXT NOT NULL,
	concurrency INTEGER NOT NULL,
	registered_at FLOAT NOT NULL,
	seen_at FLOAT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (name)
);
INSERT INTO "executors" VALUES('8zte1ctwis5ab3i7fmjgi1sm','desk','[{"type": "function", "function": {"name": "read_file", "description": "Read a file.", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}, "read_only": true}]','["*"]',4,1.79572813946615767472e+09,1.79572813946615767472e+09);
CREATE TABLE invocations (
	id VARCHAR(64) NOT NULL,
	run_id VARCHAR(40) NOT NULL,
	attempt INTEGER NOT NULL,
	fingerprint VARCHAR(64) NOT NULL,
	successor VARCHAR(64),
	state VARCHAR(16) NOT NULL,
	answer TEXT,
	error TEXT,
	created_at FLOAT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "invocations" VALUES('wrs5ko7xgqt6e051kkpp','x6pmmg1nnt2qgmqupav0',1,'8ee34fb8d73a4014df9f7f916d9e01dd',NULL,'answered','{"text":"hello","finish_reason":"stop","usage":{"prompt_tokens":38,"completion_tokens":2}}',NULL,1.79572813919193530075e+09);
INSERT INTO "invocations" VALUES('jhx7fcquhzqbopz1p5hr','pkqlhmbt5daw67tyeckk',1,'cb965801b33c39f487b4be55dc26bf74',NULL,'running',NULL,NULL,1.7957281393476557732e+09);
INSERT INTO "invocations" VALUES('rq9qez759pzzlbj7fil2','r8xmspnyrjaqd9zuheil',1,'3fa6351f4d87e1186ada95319f6f97f2',NULL,'answered','{"text":"hello again","finish_reason":"stop","usage":{"prompt_tokens":39,"completion_tokens":3}}',NULL,1.79572813942169618611e+09);
CREATE TABLE logins (
	digest VARCHAR(64) NOT NULL,
	name VARCHAR(100) NOT NULL,
	token_hash VARCHAR(80) NOT NULL,
	expires_at FLOAT NOT NULL,
	PRIMARY KEY (digest)
);
CREATE TABLE markers (
	digest VARCHAR(64) NOT NULL, 
	run_id VARCHAR(40) NOT NULL, 
	attempt INTEGER NOT NULL, 
	PRIMARY KEY (digest), 
	FOREIGN KEY(run_id) REFERENCES runs (id)
);
CREATE TABLE nodes (
	id INTEGER NOT NULL,
	run_id VARCHAR(40) NOT NULL,
	attempt INTEGER NOT NULL,
	execution_id VARCHAR(64) NOT NULL,
	title TEXT NOT NULL,
	node_type VARCHAR(64) NOT NULL,
	status VARCHAR(32) NOT NULL,
	error TEXT,
	retries INTEGER NOT NULL,
	total_tokens INTEGER NOT NULL,
	price VARCHAR(32) NOT NULL,
	currency VARCHAR(8) NOT NULL,
	started_at FLOAT NOT NULL,
	ended_at FLOAT,
	PRIMARY KEY (id),
	FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "nodes" VALUES(1,'x6pmmg1nnt2qgmqupav0',1,'b2a3395a-fa2d-41f4-a298-cfdf4c07b3ee','Start','start','succeeded',NULL,0,0,'','',1.79572813888488507275e+09,1.79572813888594985005e+09);
INSERT INTO "nodes" VALUES(2,'x6pmmg1nnt2qgmqupav0',1,'660ecc11-ddaa-4537-aa8b-64584a70af27','Assistant','llm','succeeded',NULL,0,40,'','',1.79572813888709044462e+09,1.79572813928996634488e+09);
INSERT INTO "nodes" VALUES(3,'x6pmmg1nnt2qgmqupav0',1,'2929267b-733b-4c1b-84cd-47eb542bffe1','Answer','answer','succeeded',NULL,0,0,'','',1.79572813929128026963e+09,1.79572813929158711437e+09);
INSERT INTO "nodes" VALUES(4,'pkqlhmbt5daw67tyeckk',1,'33098689-de4a-4940-979d-5a83de404964','Start','start','succeeded',NULL,0,0,'','',1.79572813934234666827e+09,1.79572813934275770189e+09);
INSERT INTO "nodes" VALUES(5,'pkqlhmbt5daw67tyeckk',1,'b2be0b0c-7dc3-4db6-a7fb-9b926b176da7','Assistant','llm','running',NULL,0,0,'','',1.79572813934425330167e+09,NULL);
INSERT INTO "nodes" VALUES(6,'r8xmspnyrjaqd9zuheil',1,'d3a1b1fc-a356-4d7c-856d-5e4b300ddbb3','Start','start','succeeded',NULL,0,0,'','',1.7957281394134421348e+09,1.79572813941378664967e+09);
INSERT INTO "nodes" VALUES(7,'r8xmspnyrjaqd9zuheil',1,'17789507-9c00-49cc-941b-1570ec248242','Assistant','llm','succeeded',NULL,0,42,'','',1.79572813941436123848e+09,1.79572813943515348432e+09);
INSERT INTO "nodes" VALUES(8,'r8xmspnyrjaqd9zuheil',1,'1598c766-0172-4fd7-a7ba-345f08c46772','Answer','answer','succeeded',NULL,0,0,'','',1.795728139435983181e+09,1.79572813943625974653e+09);
CREATE TABLE responses (
	id VARCHAR(64) NOT NULL,
	previous_id VARCHAR(64),
	model VARCHAR(128) NOT NULL,
	run_id VARCHAR(40) NOT NULL,
	segment INTEGER NOT NULL,
	request TEXT NOT NULL,
	input TEXT NOT NULL,
	answer TEXT,
	created_at FLOAT NOT NULL,
	updated_at FLOAT NOT NULL, client VARCHAR(64) DEFAULT 'default' NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "responses" VALUES('resp_v4fjy7gx0djzogcvxap0cb0zhars0lshqv8co8d5',NULL,'minimal','r8xmspnyrjaqd9zuheil',0,'{"background": false, "instructions": null, "max_output_tokens": null, "metadata": {}, "model": "minimal", "parallel_tool_calls": true, "previous_response_id": null, "prompt_cache_key": null, "reasoning": {"effort": null, "summary": null}, "temperature": null, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": null, "truncation": "disabled", "user": null}','[{"type": "message", "role": "user", "content": "!say hello again"}]','{"id": "resp_v4fjy7gx0djzogcvxap0cb0zhars0lshqv8co8d5", "object": "response", "created_at": 1795728139, "completed_at": 1795728139, "status": "completed", "error": null, "incomplete_details": null, "output": [{"id": "msg_v4fjy7gx0djzogcvxap0cb0zhars0lshqv8co8d50", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hello again", "annotations": [], "logprobs": []}], "status": "completed"}], "usage": {"input_tokens": 39, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 42}, "background": false, "instructions": null, "max_output_tokens": null, "metadata": {}, "model": "minimal", "parallel_tool_calls": true, "previous_response_id": null, "prompt_cache_key": null, "reasoning": {"effort": null, "summary": null}, "temperature": null, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": null, "truncation": "disabled", "user": null}',1.79572813940622949598e+09,1.79572813944081878662e+09,'default');
CREATE TABLE runs (
	id VARCHAR(40) NOT NULL,
	model VARCHAR(128) NOT NULL,
	session_key VARCHAR(64) NOT NULL,
	turn_key VARCHAR(64) NOT NULL,
	dify_user VARCHAR(64) NOT NULL,
	conversation_id VARCHAR(64) NOT NULL,
	query_digest VARCHAR(16) NOT NULL,
	auxiliary VARCHAR(32),
	state VARCHAR(16) NOT NULL,
	attempt INTEGER NOT NULL,
	task_id VARCHAR(64) NOT NULL,
	workflow_run_id VARCHAR(64) NOT NULL,
	request TEXT NOT NULL,
	error TEXT,
	created_at FLOAT NOT NULL,
	updated_at FLOAT NOT NULL,
	expires_at FLOAT NOT NULL,
	direction VARCHAR(16) NOT NULL, began_at FLOAT, request_key VARCHAR(64), idempotency VARCHAR(64), version INTEGER DEFAULT '0' NOT NULL, client VARCHAR(64) DEFAULT 'default' NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "runs" VALUES('x6pmmg1nnt2qgmqupav0','minimal','92c2c362b825e167','bc163c60aa01dd13381599be887357d95f19a36178ac3adce1eaa9da03bf2de5','clawback-92c2c362b825e167','d58beaab-838b-4ae5-a041-b7519fa6fbd4','bd17c5cfedabe34a',NULL,'finished',1,'3f5f3114-286d-4526-a2c1-66085d838ca1','48100f71-31dc-4e2b-ace4-fc7df31cca80','{"messages":[{"role":"user","content":"!say hello"}],"turn":0,"query":"!say hello","tools":[],"parameters":{},"inputs":{},"anonymous":false,"resumed":false}',NULL,1.7957281388618357181e+09,1.79572813929601144788e+09,1.79633293886183571818e+09,'endpoint',NULL,NULL,NULL,0,'default');
INSERT INTO "runs" VALUES('pkqlhmbt5daw67tyeckk','minimal','92c2c362b825e167','f0b7b1e440a3c3c0f8822b7c89317fd39cc949e3fc890c5f06cecc57953ad794','clawback-92c2c362b825e167','d58beaab-838b-4ae5-a041-b7519fa6fbd4','3a0928ca677595dc',NULL,'running',1,'4ee1dbbb-2fbc-4d35-923d-c81b262af97a','92000692-c4c2-4e7e-8ff7-83a36773f8bb','{"messages":[{"role":"user","content":"!call read_file {\"path\": \"notes.md\"}\n!then\n!say It is a note."}],"turn":0,"query":"!call read_file {\"path\": \"notes.md\"}\n!then\n!say It is a note.","tools":[{"type":"function","function":{"name":"read_file","description":"Read a file.","parameters":{"type":"object","properties":{"path":{"type":"string"}}}}}],"parameters":{},"inputs":{},"anonymous":false,"resumed":false}',NULL,1.79572813933282041552e+09,1.79572813934062433245e+09,1.79633293933282041547e+09,'endpoint',NULL,NULL,NULL,0,'default');
INSERT INTO "runs" VALUES('r8xmspnyrjaqd9zuheil','minimal','q6uuy4f3o64mwbw9nz96','769e596a60b6ead2ae6723d5cee591427a99be819bc9d3dd23d4f061c2520460','clawback-q6uuy4f3o64mwbw9nz96','88d87f20-0d61-4f98-a66a-25d0473bac54','5271dba7ca52e919',NULL,'finished',1,'9f41a4d9-7cd9-4501-a4c8-7cf2f08230ff','de1f596e-86db-4ab5-ab56-5d741fe33ae1','{"messages":[{"role":"user","content":"!say hello again"}],"turn":0,"query":"!say hello again","tools":[],"parameters":{},"inputs":{},"anonymous":true,"resumed":false}',NULL,1.79572813940358185771e+09,1.79572813943828725816e+09,1.79633293940358185767e+09,'endpoint',NULL,NULL,NULL,0,'default');
CREATE TABLE segments (
	run_id VARCHAR(40) NOT NULL,
	number INTEGER NOT NULL,
	text TEXT NOT NULL,
	reasoning TEXT NOT NULL,
	ticket_id VARCHAR(64),
	finish_reason VARCHAR(32) NOT NULL,
	usage TEXT NOT NULL,
	created_at FLOAT NOT NULL,
	PRIMARY KEY (run_id, number),
	FOREIGN KEY(run_id) REFERENCES runs (id)
);
INSERT INTO "segments" VALUES('x6pmmg1nnt2qgmqupav0',0,'hello','',NULL,'stop','{"prompt_tokens":38,"completion_tokens":2}',1.79572813929524421686e+09);
INSERT INTO "segments" VALUES('pkqlhmbt5daw67tyeckk',0,'','','jhx7fcquhzqbopz1p5hrr0','tool_calls','{"prompt_tokens":93,"completion_tokens":8}',1.79572813936889553064e+09);
INSERT INTO "segments" VALUES('r8xmspnyrjaqd9zuheil',0,'hello again','',NULL,'stop','{"prompt_tokens":39,"completion_tokens":3}',1.79572813943794155119e+09);
CREATE TABLE sessions (
	"key" VARCHAR(64) NOT NULL,
	model VARCHAR(128) NOT NULL,
	dify_user VARCHAR(64) NOT NULL,
	conversation_id VARCHAR(64) NOT NULL,
	updated_at FLOAT NOT NULL, scope VARCHAR(64),
	PRIMARY KEY ("key")
);
INSERT INTO "sessions" VALUES('92c2c362b825e167','minimal','clawback-92c2c362b825e167','d58beaab-838b-4ae5-a041-b7519fa6fbd4',1.79572813887849521636e+09,NULL);
INSERT INTO "sessions" VALUES('q6uuy4f3o64mwbw9nz96','minimal','clawback-q6uuy4f3o64mwbw9nz96','88d87f20-0d61-4f98-a66a-25d0473bac54',1.79572813941212344173e+09,NULL);
CREATE TABLE spent (
	client VARCHAR(64) NOT NULL, 
	day INTEGER NOT NULL, 
	tokens INTEGER NOT NULL, 
	PRIMARY KEY (client, day)
);
CREATE TABLE tickets (
	id VARCHAR(64) NOT NULL,
	run_id VARCHAR(40) NOT NULL,
	invocation_id VARCHAR(64) NOT NULL,
	round INTEGER NOT NULL,
	state VARCHAR(16) NOT NULL,
	content TEXT,
	reasoning TEXT,
	shown TEXT NOT NULL,
	segment INTEGER,
	reply TEXT,
	reason TEXT,
	request_id VARCHAR(128),
	created_at FLOAT NOT NULL,
	updated_at FLOAT NOT NULL,
	expires_at FLOAT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(run_id) REFERENCES runs (id),
	FOREIGN KEY(invocation_id) REFERENCES invocations (id)
);
INSERT INTO "tickets" VALUES('jhx7fcquhzqbopz1p5hrr0','pkqlhmbt5daw67tyeckk','jhx7fcquhzqbopz1p5hr',0,'open',NULL,NULL,'',0,NULL,NULL,'req_ztgbm9cjhkzs5s8pmgng',1.79572813936384105678e+09,1.79572813936384105678e+09,1.7958145393638410568e+09);
CREATE TABLE transcripts (
	digest VARCHAR(64) NOT NULL,
	session_key VARCHAR(64) NOT NULL,
	updated_at FLOAT NOT NULL,
	PRIMARY KEY (digest)
);
INSERT INTO "transcripts" VALUES('023917b95cbf01a278796a28ef37b628ac62635f48f580cee8881c5c16ac34ce','q6uuy4f3o64mwbw9nz96',1.79572813943901634214e+09);
CREATE INDEX runs_by_turn ON runs (turn_key);
CREATE INDEX runs_by_conversation ON runs (conversation_id);
CREATE INDEX runs_by_session ON runs (session_key, created_at);
CREATE INDEX runs_by_update ON runs (updated_at);
CREATE INDEX runs_by_creation ON runs (created_at, id);
CREATE INDEX runs_by_user ON runs (dify_user, state);
CREATE INDEX invocations_by_run ON invocations (run_id, created_at);
CREATE INDEX events_by_run ON events (run_id, id);
CREATE INDEX events_by_ticket ON events (ticket_id, id);
CREATE INDEX nodes_by_run ON nodes (run_id, attempt, execution_id);
CREATE INDEX tickets_by_run ON tickets (run_id, created_at);
CREATE INDEX tickets_by_state ON tickets (state, expires_at);
CREATE INDEX calls_by_state ON calls (state);
CREATE INDEX calls_by_ticket ON calls (ticket_id, position);
CREATE INDEX exchanges_by_update ON exchanges (updated_at);
CREATE INDEX exchanges_by_digest ON exchanges (digest);
CREATE INDEX exchanges_by_session ON exchanges (session_key, id);
CREATE INDEX markers_by_run ON markers (run_id);
CREATE INDEX runs_by_request ON runs (request_key);
CREATE INDEX runs_by_idempotency ON runs (idempotency);
COMMIT;
