from flask import Flask, session

app = Flask(__name__)
app.secret_key = 'secret_key'

@app.route('/')
def index():
    session['testing'] = 42
    return 'Hello World'

@app.route('/get_session')
def get_session():
    return str(session)
