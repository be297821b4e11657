-- Reads a number that json_to_recordset cannot open: only the rows of a page that failed as a whole come this way.

CREATE FUNCTION prop_trading_model.recon_number(value text) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN nullif(trim(value), '')::numeric;
EXCEPTION WHEN numeric_value_out_of_range THEN
    -- Larger than any column: infinite, so that the range check makes it NULL and names it.
    RETURN 'Infinity';
END
$$;
COMMENT ON FUNCTION prop_trading_model.recon_number IS 'a number from its text; one too large for PostgreSQL becomes Infinity, what is no number is an error';
