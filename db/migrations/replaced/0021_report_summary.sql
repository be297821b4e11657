-- The report's figures, kept up by whoever works, so that reading them costs the same however many accounts there are.

CREATE TABLE prop_trading_model.recon_report (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    figures     jsonb,
    computed_at timestamptz,
    seconds     double precision NOT NULL DEFAULT 0
);
INSERT INTO prop_trading_model.recon_report DEFAULT VALUES;
COMMENT ON TABLE prop_trading_model.recon_report IS 'the figures of the report as they were last counted; one row';
COMMENT ON COLUMN prop_trading_model.recon_report.seconds IS 'how long counting took: so seldom is it done that it never costs much';

-- The last seven days among the attempts of months. BRIN, since attempts are stored run after run, and it costs their recording nothing.
CREATE INDEX recon_attempts_finished ON prop_trading_model.recon_attempts USING brin (finished_at) WITH (pages_per_range = 32, autosummarize = on);
COMMENT ON INDEX prop_trading_model.recon_attempts_finished IS 'report: get_activity';
