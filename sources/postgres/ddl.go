package postgres

import (
	"context"
	"strings"
)

// With ddl.capture=event_trigger the server itself tells of each change of a table's
// shape: an event trigger writes a logical message into the transaction that makes
// the change, so it stands in the log at exactly the right place. The stream takes
// from it what the log does not tell otherwise (NOT NULL, defaults, the order of key
// columns), and sends a record to the topic of schema changes.

// ddlVersion is the version of what is installed; another one is installed anew.
const ddlVersion = "1"

// ddlPrefix is the prefix of the messages that the triggers in a schema write.
func ddlPrefix(schema string) string { return schema + ".ddl" }

// ddlScript returns the statements that install the event triggers. They need the
// rights of a superuser, or of a managed server's stand-in for one.
func ddlScript(schema string) []string {
	s := quoteIdent(schema)
	named := strings.NewReplacer("{schema}", s, "{prefix}", quoteLiteral(ddlPrefix(schema)), "{version}", ddlVersion,
		"{command}", quoteIdent(schema+"_ddl_command"), "{drop}", quoteIdent(schema+"_ddl_drop"))
	list := []string{"CREATE SCHEMA IF NOT EXISTS {schema}", ddlTableFunction, ddlCommandFunction, ddlDropFunction,
		"GRANT USAGE ON SCHEMA {schema} TO PUBLIC",
		"DROP EVENT TRIGGER IF EXISTS {command}", "DROP EVENT TRIGGER IF EXISTS {drop}",
		`CREATE EVENT TRIGGER {command} ON ddl_command_end
	WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'COMMENT') EXECUTE FUNCTION {schema}.ddl_command()`,
		"CREATE EVENT TRIGGER {drop} ON sql_drop WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED') EXECUTE FUNCTION {schema}.ddl_drop()",
		"COMMENT ON FUNCTION {schema}.ddl_command() IS 'Tidemill {version}'",
	}
	for i, statement := range list {
		list[i] = named.Replace(statement)
	}
	return list
}

// ddlTableFunction describes a table as the stream needs it.
const ddlTableFunction = `CREATE OR REPLACE FUNCTION {schema}.ddl_table(id oid) RETURNS jsonb LANGUAGE sql STABLE SET search_path = pg_catalog AS $f$
SELECT jsonb_build_object('oid', c.oid::bigint, 'schema', n.nspname, 'table', c.relname, 'comment', obj_description(c.oid, 'pg_class'),
	'root', (SELECT jsonb_build_array(rn.nspname, r.relname) FROM pg_class r JOIN pg_namespace rn ON rn.oid = r.relnamespace
		WHERE c.relispartition AND r.oid = pg_partition_root(c.oid)),
	'columns', coalesce((SELECT jsonb_agg(jsonb_build_object('name', a.attname, 'type', a.atttypid::bigint, 'mod', a.atttypmod, 'typname', t.typname,
			'expression', format_type(a.atttypid, a.atttypmod), 'notnull', a.attnotnull, 'generated', a.attgenerated <> '', 'dims', a.attndims,
			'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
			'counts', a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%',
			'comment', col_description(a.attrelid, a.attnum)) ORDER BY a.attnum)
		FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
	'indexes', coalesce((SELECT jsonb_agg(jsonb_build_object('primary', i.indisprimary, 'identity', i.indisreplident,
			'columns', (SELECT jsonb_agg(a.attname ORDER BY k.place) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
				JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.place <= i.indnkeyatts),
			'notnull', (SELECT bool_and(a.attnotnull) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
				JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.place <= i.indnkeyatts)) ORDER BY i.indexrelid)
		FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL), '[]'))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = id
$f$`

// ddlCommandFunction tells of tables that were created or altered. It never makes a
// statement fail: what it cannot tell, it warns of. The block that catches errors is a
// subtransaction, whose changes are merged into the transaction's by their positions,
// and a message has the position where it ends, which is where the next change
// begins: the empty message in between keeps the next row behind the one that counts.
const ddlCommandFunction = `CREATE OR REPLACE FUNCTION {schema}.ddl_command() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $f$
DECLARE changed record;
BEGIN
	FOR changed IN SELECT DISTINCT o.objid FROM pg_event_trigger_ddl_commands() o JOIN pg_class c ON c.oid = o.objid
		WHERE o.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p' ORDER BY 1
	LOOP
		PERFORM pg_logical_emit_message(true, {prefix}, (jsonb_build_object('version', {version}, 'tag', tg_tag,
			'kind', CASE WHEN tg_tag IN ('ALTER TABLE', 'COMMENT') THEN 'ALTER' ELSE 'CREATE' END, 'ddl', left(current_query(), 65536))
			|| {schema}.ddl_table(changed.objid))::text);
	END LOOP;
	IF FOUND THEN
		PERFORM pg_logical_emit_message(true, {prefix}, '');
	END IF;
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING 'the change of a table could not be told to change data capture: %', SQLERRM;
END
$f$`

// ddlDropFunction tells of tables that were dropped.
const ddlDropFunction = `CREATE OR REPLACE FUNCTION {schema}.ddl_drop() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $f$
DECLARE gone record;
BEGIN
	FOR gone IN SELECT o.objid, o.schema_name, o.object_name FROM pg_event_trigger_dropped_objects() o WHERE o.object_type = 'table' AND NOT o.is_temporary ORDER BY 1
	LOOP
		PERFORM pg_logical_emit_message(true, {prefix}, jsonb_build_object('version', {version}, 'tag', tg_tag, 'kind', 'DROP', 'ddl', left(current_query(), 65536),
			'oid', gone.objid::bigint, 'schema', gone.schema_name, 'table', gone.object_name)::text);
	END LOOP;
	IF FOUND THEN
		PERFORM pg_logical_emit_message(true, {prefix}, '');
	END IF;
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING 'the dropping of a table could not be told to change data capture: %', SQLERRM;
END
$f$`

// ddlInstalled tells whether the event triggers are there in their present version,
// and whether the user may install them.
func (s *settings) ddlInstalled(ctx context.Context, d *db) (installed, may bool, err error) {
	r, err := d.row(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
			WHERE n.nspname = $1 AND p.proname = 'ddl_command' AND e.evtenabled <> 'D' AND pg_catalog.obj_description(p.oid, 'pg_proc') = $2),
		(SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
		OR EXISTS (SELECT FROM pg_catalog.pg_roles g WHERE g.rolname IN ('rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin', 'alloydbsuperuser') AND pg_catalog.pg_has_role(g.oid, 'MEMBER'))`,
		s.ddlSchema, "Tidemill "+ddlVersion)
	if err != nil || r == nil {
		return false, false, explain(err, "looking for the event triggers of ddl.capture")
	}
	return truth(r[0]), truth(r[1]), nil
}

// checkDDL looks whether changes of schema can be captured.
func (p *preflight) checkDDL(ctx context.Context) error {
	if p.set.ddlPrefix == "" {
		return nil
	}
	const messages = 140000
	if p.server.version < messages {
		p.fault(Finding{Setting: "ddl.capture", Code: "pg.ddl.version", What: "before version 14 the log does not bring the messages of event triggers", Mend: "set ddl.capture=none"})
		return nil
	}
	installed, may, err := p.set.ddlInstalled(ctx, p.db)
	if err != nil || installed || may {
		return err
	}
	p.fault(Finding{Setting: "ddl.capture", Code: "pg.ddl.install", What: "the event triggers of ddl.capture=event_trigger are not there, and the user may not create them",
		Why: "only a superuser can, or the role that stands in for one on a managed server", SQL: ddlScript(p.set.ddlSchema)})
	return nil
}

// installDDL installs the event triggers, if they are asked for and not there yet.
func (s *settings) installDDL(ctx context.Context, d *db) error {
	if s.ddlPrefix == "" {
		return nil
	}
	installed, _, err := s.ddlInstalled(ctx, d)
	if err != nil || installed {
		return err
	}
	// Another connector may do the same at the same time: one waits for the other.
	script := append([]string{"BEGIN", "SELECT pg_catalog.pg_advisory_xact_lock(7310585204611264613)"}, ddlScript(s.ddlSchema)...)
	if err := d.exec(ctx, strings.Join(append(script, "COMMIT"), ";\n")); err != nil {
		_ = d.exec(ctx, "ROLLBACK") // The error of before counts.
		if isRetriable(explain(err, "")) {
			return explain(err, "installing the event triggers of ddl.capture")
		}
		e := fatal("pg.ddl.install", "the event triggers of ddl.capture=event_trigger cannot be installed", err,
			"let a superuser run what a validation of this connector lists, or set ddl.capture=none")
		e.Place = s.ddlSchema
		return e
	}
	return nil
}
