-- Who is told of which alarm, and the services' signs of life.

CREATE TABLE notifications (
    id          uuid PRIMARY KEY,
    alarm_id    uuid REFERENCES alarms ON DELETE CASCADE,
    target      text NOT NULL,
    event       text NOT NULL,
    severity    text NOT NULL,
    created_at  timestamptz NOT NULL,
    next_try_at timestamptz NOT NULL,
    tries       integer NOT NULL DEFAULT 0,
    sent_at     timestamptz,
    given_up_at timestamptz,
    error       text NOT NULL DEFAULT '',
    CONSTRAINT notification_target_not_empty CHECK (target <> ''),
    CONSTRAINT notification_event_known CHECK (event IN ('raised', 'settled', 'test')),
    CONSTRAINT notification_severity_known CHECK (severity IN ('info', 'warning', 'critical')),
    CONSTRAINT notification_of_an_alarm CHECK ((event = 'test') = (alarm_id IS NULL)),
    CONSTRAINT notification_tries_not_negative CHECK (tries >= 0),
    CONSTRAINT notification_ends_once CHECK (num_nonnulls(sent_at, given_up_at) < 2),
    -- the same thing is told to nobody twice
    CONSTRAINT notification_told_once UNIQUE (alarm_id, target, event, severity)
) WITH (fillfactor = 70);

CREATE INDEX notifications_open ON notifications (next_try_at) WHERE sent_at IS NULL AND given_up_at IS NULL;
CREATE INDEX notifications_target ON notifications (target, created_at DESC);

COMMENT ON TABLE notifications IS 'What is to be sent to whom: a row is written first, then sent, then noted';
COMMENT ON COLUMN notifications.alarm_id IS 'Null for a test message';
COMMENT ON COLUMN notifications.next_try_at IS 'Not before; while it is being sent, when somebody else may try';
COMMENT ON COLUMN notifications.error IS 'Why the last try failed; holds no address and no answer of the target';

CREATE TABLE service_signs (
    service text NOT NULL,
    host    text NOT NULL,
    pid     integer NOT NULL,
    at      timestamptz NOT NULL,
    PRIMARY KEY (service, host),
    CONSTRAINT sign_service_not_empty CHECK (service <> '')
) WITH (fillfactor = 50);

COMMENT ON TABLE service_signs IS 'When each service last said that it works';
