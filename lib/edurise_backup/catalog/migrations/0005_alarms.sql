-- Alarms: what is wrong now, and what was. One that goes on is one row, however often it is seen.

CREATE TABLE alarms (
    id              uuid PRIMARY KEY,
    kind            text NOT NULL,
    subject         text NOT NULL DEFAULT '',
    severity        text NOT NULL,
    message         text NOT NULL,
    remedy          text NOT NULL DEFAULT '',
    raised_at       timestamptz NOT NULL,
    last_seen_at    timestamptz NOT NULL,
    seen            bigint NOT NULL DEFAULT 1,
    settled_at      timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    CONSTRAINT alarm_kind_not_empty CHECK (kind <> ''),
    CONSTRAINT alarm_severity_known CHECK (severity IN ('info', 'warning', 'critical')),
    CONSTRAINT alarm_times_in_order CHECK (last_seen_at >= raised_at AND settled_at >= raised_at),
    CONSTRAINT alarm_seen_at_least_once CHECK (seen > 0),
    CONSTRAINT alarm_acknowledged_by_somebody CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL))
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX alarms_open ON alarms (kind, subject) WHERE settled_at IS NULL;
CREATE INDEX alarms_newest ON alarms (raised_at DESC, id DESC);

COMMENT ON TABLE alarms IS 'What is or was wrong; an open alarm is unique by kind and subject';
COMMENT ON COLUMN alarms.subject IS 'What it is about: a source, a job, a store';
COMMENT ON COLUMN alarms.seen IS 'How often it was seen while it was open';
COMMENT ON COLUMN alarms.settled_at IS 'When it was seen no more; null while it is open';
