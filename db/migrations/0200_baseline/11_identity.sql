-- Whose a row is: which account held a natural key when, and what does not fit that.

CREATE TABLE prop_trading_model.recon_identity (
    login       text NOT NULL,
    platform    text NOT NULL,
    broker      text NOT NULL,
    account_id  text NOT NULL,
    daily_from  date,
    daily_to    date,
    today       boolean NOT NULL,
    counts      boolean NOT NULL,
    first_trade date,
    valid_from  date,
    valid_to    date,
    open_from   date,
    PRIMARY KEY (login, platform, broker, account_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE prop_trading_model.recon_identity IS
    'who held a natural key when; derived from daily rows (daily_from, daily_to) and alltime (today), rebuilt by maintenance';
COMMENT ON COLUMN prop_trading_model.recon_identity.counts IS 'alltime counts trades for the account';
COMMENT ON COLUMN prop_trading_model.recon_identity.open_from IS
    'the account also holds the key from this day on: alltime says so, and no daily row of any holder reaches it';
CREATE INDEX recon_identity_account ON prop_trading_model.recon_identity (account_id);
-- Upstream may send logins as numbers, which have lost their leading zeros: the known login is found by what is left of it.
CREATE INDEX recon_identity_zeros ON prop_trading_model.recon_identity (ltrim(login, '0'), platform, broker) WHERE login LIKE '0%';
COMMENT ON INDEX prop_trading_model.recon_identity_zeros IS 'staging: get_known_logins';

CREATE TABLE prop_trading_model.recon_identity_findings (
    table_name text NOT NULL,
    login      text NOT NULL,
    platform   text NOT NULL,
    broker     text NOT NULL,
    holder     text,
    candidates text[] NOT NULL,
    fits       text NOT NULL,
    rows       bigint NOT NULL,
    dates      date[] NOT NULL,
    found_at   timestamptz NOT NULL DEFAULT now()
);
-- It has no primary key: a publication of all tables takes no deletes from it without this.
ALTER TABLE prop_trading_model.recon_identity_findings REPLICA IDENTITY FULL;
COMMENT ON TABLE prop_trading_model.recon_identity_findings IS
    'rows whose account id is missing, a placeholder or another account''s, by natural key; holder is the id they carry, candidates those that fit';
COMMENT ON COLUMN prop_trading_model.recon_identity_findings.fits IS
    'MD5 of the candidates, which may be too long for an index';
CREATE UNIQUE INDEX recon_identity_findings_natural_key
    ON prop_trading_model.recon_identity_findings (login, platform, broker, table_name, holder, fits) NULLS NOT DISTINCT;
COMMENT ON INDEX prop_trading_model.recon_identity_findings_natural_key IS
    'identity: two that look at once find a thing once';
CREATE INDEX recon_identity_findings_candidates ON prop_trading_model.recon_identity_findings USING gin (candidates);

CREATE TABLE prop_trading_model.recon_foreign_metrics (
    login    text NOT NULL,
    platform text NOT NULL,
    broker   text NOT NULL,
    holder   text NOT NULL,
    owner    text NOT NULL,
    days     date[] NOT NULL,
    own_from date,
    own_to   date,
    PRIMARY KEY (login, platform, broker, holder)
);
COMMENT ON TABLE prop_trading_model.recon_foreign_metrics IS
    'daily rows under an id (holder) that is not their natural key''s: on these days another account (owner) has rows under the key, and alltime does not give it to the holder; no days: the alltime row; rebuilt by maintenance';
COMMENT ON COLUMN prop_trading_model.recon_foreign_metrics.own_from IS
    'the first of the holder''s other daily rows under the key; null: there are none';

-- Such as an API sends that writes 0 where it knows none: an id of several natural keys tells no account.
CREATE TABLE prop_trading_model.recon_shared_ids (
    account_id text PRIMARY KEY,
    run_id     uuid,
    seen_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE prop_trading_model.recon_shared_ids IS
    'account ids that upstream sent for several natural keys in alltime answers: rows with such an id count as rows without one, until an audit sees it for one key alone';
COMMENT ON COLUMN prop_trading_model.recon_shared_ids.run_id IS
    'the audit that saw it last; null: a fetch by logins did';

CREATE TABLE prop_trading_model.recon_upstream_holders (
    login      text NOT NULL,
    platform   text NOT NULL,
    broker     text NOT NULL,
    account_id text NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(),
    first_day  date,
    PRIMARY KEY (login, platform, broker, account_id)
);
COMMENT ON TABLE prop_trading_model.recon_upstream_holders IS
    'accounts under which upstream sent a natural key that stands, or may stand, under a placeholder: the placeholder itself where upstream sends no id';
COMMENT ON COLUMN prop_trading_model.recon_upstream_holders.first_day IS
    'the first day of the rows that stand under the placeholder of the natural key: they are the account''s';
CREATE INDEX recon_upstream_holders_account ON prop_trading_model.recon_upstream_holders (account_id);
COMMENT ON INDEX prop_trading_model.recon_upstream_holders_account IS 'identity: refresh_identity of some accounts';

CREATE TABLE prop_trading_model.recon_unmatched_keys (
    table_name text NOT NULL,
    login      text NOT NULL,
    platform   text NOT NULL,
    broker     text NOT NULL,
    first_run  uuid NOT NULL,
    first_seen timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_name, login, platform, broker)
);
COMMENT ON TABLE prop_trading_model.recon_unmatched_keys IS
    'natural keys of stored rows that fit no account or several, and the first run that ended with each: later runs know it';
