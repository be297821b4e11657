-- Issues that somebody accepted: they hold back neither the end of a run nor the date through which all is reconciled, until their figures change
-- or their date comes.

CREATE TABLE prop_trading_model.recon_accepted_issues (
    acceptance_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id    varchar(255) NOT NULL,
    type          text NOT NULL,
    reason        text NOT NULL,
    until         date NOT NULL,
    evidence      jsonb NOT NULL,
    figures       text NOT NULL,
    seen          text NOT NULL,
    was_held      boolean NOT NULL,
    accepted_at   timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz,
    ended_as      text CHECK (ended_as IN ('withdrawn', 'replaced', 'changed', 'closed', 'expired')),
    ended_reason  text
);
CREATE UNIQUE INDEX recon_accepted_issues_open ON prop_trading_model.recon_accepted_issues (account_id, type) WHERE ended_at IS NULL;
COMMENT ON INDEX prop_trading_model.recon_accepted_issues_open IS 'accepted: get_accepted, one acceptance of an issue at a time; report: what is accepted';
CREATE INDEX recon_accepted_issues_ended ON prop_trading_model.recon_accepted_issues (ended_at) WHERE ended_at IS NOT NULL;
COMMENT ON INDEX prop_trading_model.recon_accepted_issues_ended IS 'retention: purge_accepted';
COMMENT ON TABLE prop_trading_model.recon_accepted_issues IS 'issues that somebody accepted, and those whose acceptance is over, with the reason';
COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.until IS 'the first date on which it counts again';
COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.evidence IS 'the issue as it was shown when it was accepted';
COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.figures IS 'a digest of the figures that were accepted: where those of the issue are others, it counts again';
COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.seen IS
    'a digest of how the account''s tables disagreed: while it is the same, runs that compare counts do not ask upstream about it';
COMMENT ON COLUMN prop_trading_model.recon_accepted_issues.was_held IS 'the account was held: once the acceptance is over it is guarded as such';
