-- Reads a number that json_to_recordset cannot open: only the rows of a page that failed as a whole come this way.

CREATE FUNCTION prop_trading_model.recon_number(value text) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    -- What PostgreSQL surely holds needs no exception block, which costs a subtransaction each time.
    IF value ~ '^[+-]?[0-9]{1,250}(\.[0-9]{1,250})?([eE][+-]?[0-9]{1,3})?$' THEN
        RETURN value::numeric;
    END IF;
    BEGIN
        RETURN nullif(trim(value), '')::numeric;
    EXCEPTION WHEN numeric_value_out_of_range THEN
        -- Larger than any column: infinite, so that the range check makes it NULL and names it.
        RETURN 'Infinity';
    END;
END
$$;
COMMENT ON FUNCTION prop_trading_model.recon_number IS 'a number from its text; one too large for PostgreSQL becomes Infinity, what is no number is an error';
