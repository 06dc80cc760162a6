from django.db.backends.sqlite3 import base, features, operations, schema

from site_d1.backend import database


class Features(features.DatabaseFeatures):
    supports_transactions = False
    can_rollback_ddl = False
    has_bulk_insert = False
    can_return_columns_from_insert = True
    uses_savepoints = False
    minimum_database_version = None


class Operations(operations.DatabaseOperations):
    def last_executed_query(self, cursor, sql, params):
        return sql


class SchemaEditor(schema.DatabaseSchemaEditor):
    def __enter__(self):
        self.deferred_sql = []
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            for statement in self.deferred_sql:
                self.execute(statement)


class DatabaseWrapper(base.DatabaseWrapper):
    Database = database
    SchemaEditorClass = SchemaEditor
    features_class = Features
    ops_class = Operations

    def get_connection_params(self):
        return {"binding": self.settings_dict["CLOUDFLARE_BINDING"]}

    def get_database_version(self):
        return (3, 47)

    def get_new_connection(self, conn_params):
        return database.Connection(**conn_params)

    def create_cursor(self, name=None):
        return self.connection.cursor()

    def check_database_version_supported(self):
        pass

    def init_connection_state(self):
        pass

    def _set_autocommit(self, autocommit):
        pass

    def set_autocommit(self, autocommit, force_begin_transaction_with_broken_autocommit=False):
        pass

    def _savepoint_allowed(self):
        return False

    def is_usable(self):
        return True

    def disable_constraint_checking(self):
        return True

    def enable_constraint_checking(self):
        pass

    def check_constraints(self, table_names=None):
        pass
